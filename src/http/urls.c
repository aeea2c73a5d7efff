/*
 * urls: parsed URLs kept for the next request. Parsing is a sixth of what
 * libcurl spends on a small exchange, and most requests go where an earlier one
 * went.
 */
#include "http_int.h"

#include <string.h>

#define BUCKETS 64u
#define IDLE_MAX 64u /* parsed URLs kept though nobody uses them */

struct url_entry {
    struct url_entry *chain;         /* in its bucket */
    struct url_entry *older, *newer; /* among the idle ones, by last use */
    CURLU *handle;
    size_t len;
    uint32_t hash;
    unsigned users;
    char url[];
};

struct urls {
    struct url_entry *buckets[BUCKETS];
    struct url_entry *oldest, *newest; /* idle entries */
    unsigned idle;
};

struct urls *
urls_new(void)
{
    return mem_zalloc(sizeof(struct urls));
}

static void
free_entry(struct url_entry *entry)
{
    curl_url_cleanup(entry->handle);
    mem_free(entry);
}

void
urls_free(struct urls *urls)
{
    size_t i;

    if (urls == NULL) {
        return;
    }
    for (i = 0; i < BUCKETS; i++) {
        while (urls->buckets[i] != NULL) {
            struct url_entry *entry = urls->buckets[i];

            urls->buckets[i] = entry->chain;
            free_entry(entry);
        }
    }
    mem_free(urls);
}

static uint32_t
hash_of(const char *s, size_t len)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    size_t i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)s[i]) * 16777619u;
    }
    return hash;
}

static void
leave_idle(struct urls *urls, struct url_entry *entry)
{
    if (entry->older != NULL) {
        entry->older->newer = entry->newer;
    } else {
        urls->oldest = entry->newer;
    }
    if (entry->newer != NULL) {
        entry->newer->older = entry->older;
    } else {
        urls->newest = entry->older;
    }
    urls->idle--;
}

static void
drop_oldest(struct urls *urls)
{
    struct url_entry *entry = urls->oldest;
    struct url_entry **link = &urls->buckets[entry->hash % BUCKETS];

    leave_idle(urls, entry);
    while (*link != entry) {
        link = &(*link)->chain;
    }
    *link = entry->chain;
    free_entry(entry);
}

static enum fault_code
parse(struct url_entry *entry, struct fault *fault)
{
    CURLUcode code;

    entry->handle = curl_url();
    if (entry->handle == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    code = curl_url_set(entry->handle, CURLUPART_URL, entry->url,
                        CURLU_PATH_AS_IS | CURLU_DISALLOW_USER);
    if (code == CURLUE_OUT_OF_MEMORY) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    if (code != CURLUE_OK) {
        return fault_set(fault, FAULT_INVALID, "the URL cannot be used: %s",
                         curl_url_strerror(code));
    }
    return FAULT_OK;
}

enum fault_code
urls_get(struct urls *urls, const char *url, size_t len, struct url_entry **out,
         struct fault *fault)
{
    uint32_t hash = hash_of(url, len);
    struct url_entry **bucket = &urls->buckets[hash % BUCKETS];
    struct url_entry *entry;
    enum fault_code code;

    for (entry = *bucket; entry != NULL; entry = entry->chain) {
        if (entry->hash == hash && entry->len == len && memcmp(entry->url, url, len) == 0) {
            if (entry->users++ == 0) {
                leave_idle(urls, entry);
            }
            *out = entry;
            return FAULT_OK;
        }
    }
    entry = mem_zalloc(sizeof *entry + len + 1);
    if (entry == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    memcpy(entry->url, url, len);
    entry->len = len;
    code = parse(entry, fault);
    if (code != FAULT_OK) {
        free_entry(entry);
        return code;
    }
    entry->hash = hash;
    entry->users = 1;
    entry->chain = *bucket;
    *bucket = entry;
    *out = entry;
    return FAULT_OK;
}

void
urls_keep(struct url_entry *entry)
{
    entry->users++;
}

void
urls_put(struct urls *urls, struct url_entry *entry)
{
    if (entry == NULL || --entry->users > 0) {
        return;
    }
    entry->newer = NULL;
    entry->older = urls->newest;
    if (urls->newest != NULL) {
        urls->newest->newer = entry;
    } else {
        urls->oldest = entry;
    }
    urls->newest = entry;
    if (++urls->idle > IDLE_MAX) {
        drop_oldest(urls);
    }
}

CURLU *
urls_handle(const struct url_entry *entry)
{
    return entry->handle;
}
