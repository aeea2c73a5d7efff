/*
 * redirect: where an answer sends its request. Done here and not by libcurl, so
 * that both transports behave alike and that secret headers stay with the host
 * they were meant for.
 */
#include "http_int.h"

#include <string.h>
#include <strings.h>

static int
is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* TARGET (maybe relative) seen from BASE, as a string to mem_free; NULL with
 * CODE set. */
static char *
resolve(const char *base, const char *target, CURLUcode *code)
{
    CURLU *handle = curl_url();
    char *text = NULL, *copy = NULL;

    if (handle == NULL) {
        *code = CURLUE_OUT_OF_MEMORY;
        return NULL;
    }
    *code = curl_url_set(handle, CURLUPART_URL, base, CURLU_PATH_AS_IS);
    if (*code == CURLUE_OK) {
        *code = curl_url_set(handle, CURLUPART_URL, target, CURLU_URLENCODE | CURLU_DISALLOW_USER);
    }
    if (*code == CURLUE_OK) {
        *code = curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0);
    }
    if (*code == CURLUE_OK) {
        *code = curl_url_get(handle, CURLUPART_URL, &text, 0);
    }
    if (*code == CURLUE_OK) {
        copy = mem_strdup(text);
        *code = copy != NULL ? CURLUE_OK : CURLUE_OUT_OF_MEMORY;
    }
    curl_free(text);
    curl_url_cleanup(handle);
    return copy;
}

/* The part of URL, whatever its case or default; to curl_free. */
static char *
part_of(CURLU *handle, CURLUPart part)
{
    char *text = NULL;

    (void)curl_url_get(handle, part, &text, CURLU_DEFAULT_PORT); /* NULL says it */
    return text;
}

/* Do both URLs name the same scheme, host and port? No when in doubt. */
static int
same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *left = curl_url(), *right = curl_url();
    int same = left != NULL && right != NULL && curl_url_set(left, CURLUPART_URL, a, 0) == CURLUE_OK
               && curl_url_set(right, CURLUPART_URL, b, 0) == CURLUE_OK;
    size_t i;

    for (i = 0; same && i < sizeof parts / sizeof *parts; i++) {
        char *x = part_of(left, parts[i]), *y = part_of(right, parts[i]);

        same = x != NULL && y != NULL && strcasecmp(x, y) == 0;
        curl_free(x);
        curl_free(y);
    }
    curl_url_cleanup(left);
    curl_url_cleanup(right);
    return same;
}

static int
is_web_url(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* Points the exchange at URL (taken over). */
static void
move_to(struct http_exchange *ex, char *url)
{
    if (!same_origin(ex->url, url)) {
        request_drop_secrets(ex);
    }
    mem_free(ex->moved_url);
    ex->moved_url = ex->url = url;
    ex->target = url + request_origin_len(url); /* libcurl gives it a path */
    ex->redirects_left--;
    answer_reset(ex);
}

int
redirect_follow(struct http_exchange *ex)
{
    size_t len;
    const char *target;
    char *copy, *url;
    CURLUcode code;

    if (ex->redirects_max == 0 || !is_redirect(ex->result.status)
        || (strcmp(ex->method, "GET") != 0 && strcmp(ex->method, "HEAD") != 0)) {
        return 0;
    }
    target = answer_find(&ex->head, "Location", &len);
    if (target == NULL || len == 0) {
        return 0;
    }
    if (ex->redirects_left == 0) {
        return answer_refuse(ex, FAULT_PROTOCOL, "was redirected too often");
    }
    copy = mem_alloc(len + 1);
    if (copy == NULL) {
        return answer_refuse(ex, FAULT_NOMEM, "not enough memory");
    }
    memcpy(copy, target, len);
    copy[len] = '\0';
    url = resolve(ex->url, copy, &code);
    mem_free(copy);
    if (url == NULL) {
        return code == CURLUE_OUT_OF_MEMORY
                   ? answer_refuse(ex, FAULT_NOMEM, "not enough memory")
                   : answer_refuse(ex, FAULT_PROTOCOL, "was redirected to what is no URL");
    }
    if (!is_web_url(url)) {
        mem_free(url);
        return answer_refuse(ex, FAULT_PROTOCOL, "was redirected to another protocol");
    }
    move_to(ex, url);
    return 1;
}
