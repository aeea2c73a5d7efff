/*
 * bare_create: the same POST again and again with one libcurl handle and no
 * Lua: what a create costs at least. The peer of sequential creates.
 *
 * usage: bare_create URL COUNT [CA-DIRECTORY]
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char request_body[] =
    "{\"filter_v1\":{\"destination_address\":\"203.0.113.10\",\"destination_port\":53,"
    "\"protocol\":17},\"packet_limit\":10000,\"system\":\"magic-transit\","
    "\"time_limit\":300,\"type\":\"simple\"}";

struct answer {
    char data[16384];
    size_t len;
};

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
    struct answer *answer = arg;
    size_t n = size * count;

    if (n > sizeof answer->data - answer->len) {
        return 0;
    }
    memcpy(answer->data + answer->len, data, n);
    answer->len += n;
    return n;
}

static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    (void)arg;
    return size * count;
}

static struct curl_slist *
headers(void)
{
    static const char *const lines[] = {
        "Accept: application/json", "Content-Type: application/json",
        "Authorization: Bearer 0123456789abcdef0123456789abcdef01234567",
        "User-Agent: bare",
    };
    struct curl_slist *list = NULL;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        list = curl_slist_append(list, lines[i]);
    }
    return list;
}

int
main(int argc, char **argv)
{
    static struct answer answer;
    struct curl_slist *list;
    CURL *easy;
    long status = 0;

    if (argc < 3 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)fputs("usage: bare_create URL COUNT [CA-DIRECTORY]\n", stderr);
        return 2;
    }
    easy = curl_easy_init();
    list = headers();
    if (easy == NULL || list == NULL) {
        return 1;
    }
    (void)curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_body);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)(sizeof request_body - 1));
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    if (argc > 3) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, argv[3]);
    }
    for (long i = strtol(argv[2], NULL, 10); i > 0; i--) {
        answer.len = 0;
        if (curl_easy_perform(easy) != CURLE_OK
            || curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK
            || status != 200 || answer.len != 600) {
            (void)fprintf(stderr, "bare_create: status %ld, %zu bytes\n", status,
                          answer.len);
            return 1;
        }
    }
    curl_slist_free_all(list);
    curl_easy_cleanup(easy);
    curl_global_cleanup();
    return 0;
}
