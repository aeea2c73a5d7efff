/* tz_store: zones by their names, each read once and again when its file has
 * changed; see tz.h. A name becomes part of a path, so it has to look like one
 * of the database's before anything is opened. */
#include "tz.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_DIR "/usr/share/zoneinfo"

/* What tells whether a file is still the one that was read. */
struct identity {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

struct tz_zone {
    char name[TZ_NAME_MAX + 1];
    struct tz *rules;     /* NULL: UTC, which has no file */
    struct identity file; /* that the rules came from */
    uint64_t looked_ms;
    unsigned generation;
    int stale; /* the file was gone or broken at the last look */
    struct tz_zone *next;
};

/* Names -------------------------------------------------------------------------- */

static int
is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
           || c == '+' || c == '-';
}

/* Letters, digits, _ + and -, in parts between single slashes: no dot, so no
 * way up, and nothing absolute. */
static int
is_name(const char *name, size_t len)
{
    int in_part = 0;

    for (size_t i = 0; i < len; i++) {
        if (name[i] == '/' ? !in_part : !is_name_byte(name[i])) {
            return 0;
        }
        in_part = name[i] != '/';
    }
    return in_part && len <= TZ_NAME_MAX;
}

static int
starts_with(const char *name, size_t len, const char *prefix)
{
    return len >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

static int
is_word(const char *name, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(name, word, len) == 0;
}

/* Names below the directory that are not zones of the database, or not those
 * that count time as the rest of the world does. */
static int
is_reserved(const char *name, size_t len)
{
    return starts_with(name, len, "right/") || starts_with(name, len, "posix/")
           || is_word(name, len, "posixrules") || is_word(name, len, "localtime");
}

static enum fault_code
check_name(const char *name, size_t len, struct fault *fault)
{
    if (!is_name(name, len)) {
        return fault_set(fault, FAULT_INVALID, "this is no name of a time zone");
    }
    if (is_reserved(name, len)) {
        return fault_set(fault, FAULT_INVALID, "%.*s cannot be used as a time zone", (int)len,
                         name);
    }
    return FAULT_OK;
}

/* The path of zone NAME in OUT, PATH_MAX bytes; 0 or -1. */
static int
zone_path(const char *name, size_t len, char *out)
{
    const char *dir = getenv("TZDIR");

    if (dir == NULL || dir[0] != '/') {
        dir = DEFAULT_DIR;
    }
    return snprintf(out, PATH_MAX, "%s/%.*s", dir, (int)len, name) < PATH_MAX ? 0 : -1;
}

/* Copies NAME with a capital at the start of each word, as most zones have. */
static void
capitalize(const char *name, size_t len, char *out)
{
    int is_start = 1;

    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (is_start && c >= 'a' && c <= 'z') {
            c = (char)(c - 'a' + 'A');
        } else if (!is_start && c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        is_start = !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        out[i] = c;
    }
    out[len] = '\0';
}

static int
is_zone_file(const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    return zone_path(name, strlen(name), path) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

void
tz_advise(const char *name, size_t len, char *out, size_t size)
{
    char other[TZ_NAME_MAX + 1];

    if (starts_with(name, len, "right/") || starts_with(name, len, "posix/")) {
        (void)snprintf(out, size, "use the name without \"%.6s\"", name);
        return;
    }
    if (is_name(name, len)) {
        capitalize(name, len, other);
        if (strlen(other) != len || memcmp(other, name, len) != 0) {
            if (is_zone_file(other)) {
                (void)snprintf(out, size, "did you mean %s?", other);
                return;
            }
        }
    }
    (void)snprintf(out, size, "zones have names such as Europe/Berlin or UTC");
}

/* Files -------------------------------------------------------------------------- */

static void
identify(const struct stat *st, struct identity *file)
{
    memset(file, 0, sizeof *file); /* compared as bytes */
    file->dev = st->st_dev;
    file->ino = st->st_ino;
    file->size = st->st_size;
    file->mtime = st->st_mtim;
    file->ctime = st->st_ctim;
}

/* Reads FD, a file of SIZE bytes, into DATA; 0, or an errno value. */
static int
read_bytes(int fd, char *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = read(fd, data + done, size - done);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
        if (got == 0) {
            return EIO; /* it shrank meanwhile */
        }
        done += (size_t)got;
    }
    return 0;
}

/* Makes rules of what is open as FD. */
static enum fault_code
read_open(int fd, const char *path, struct tz **rules, struct identity *file, struct fault *fault)
{
    struct stat st;
    struct fault why;
    char *data;
    int problem;
    enum fault_code bad;

    if (fstat(fd, &st) != 0) {
        return fault_set(fault, FAULT_IO, "read %s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return fault_set(fault, FAULT_INVALID, "%s is no time zone", path);
    }
    if (st.st_size > (off_t)TZ_FILE_MAX) {
        return fault_set(fault, FAULT_LIMIT, "read %s: longer than %u bytes", path, TZ_FILE_MAX);
    }
    data = mem_alloc((size_t)st.st_size + 1);
    if (data == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    problem = read_bytes(fd, data, (size_t)st.st_size);
    if (problem != 0) {
        bad = fault_set(fault, FAULT_IO, "read %s: %s", path, strerror(problem));
    } else {
        bad = tz_read(data, (size_t)st.st_size, rules, &why);
        if (bad) {
            (void)fault_set(fault, bad, "read %s: %s", path, why.msg);
        }
    }
    mem_free(data);
    if (!bad) {
        identify(&st, file);
    }
    return bad;
}

static enum fault_code
read_file(const char *name, struct tz **rules, struct identity *file, struct fault *fault)
{
    char path[PATH_MAX];
    int fd;
    enum fault_code bad;

    if (zone_path(name, strlen(name), path) != 0) {
        return fault_set(fault, FAULT_IO, "read time zone %s: TZDIR is too long", name);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return fault_set(fault, FAULT_INVALID, "no time zone is called %s", name);
    }
    if (fd < 0) {
        return fault_set(fault, FAULT_IO, "read %s: %s", path, strerror(errno));
    }
    bad = read_open(fd, path, rules, file, fault);
    (void)close(fd); /* nothing was written */
    return bad;
}

/* Zones -------------------------------------------------------------------------- */

void
tz_store_init(struct tz_store *store)
{
    store->first = NULL;
}

void
tz_store_fini(struct tz_store *store)
{
    while (store->first != NULL) {
        struct tz_zone *zone = store->first;

        store->first = zone->next;
        tz_free(zone->rules);
        mem_free(zone);
    }
}

enum fault_code
tz_store_get(struct tz_store *store, const char *name, size_t len, uint64_t now_ms,
             struct tz_zone **out, struct fault *fault)
{
    enum fault_code bad = check_name(name, len, fault);
    struct tz_zone *zone;

    if (bad) {
        return bad;
    }
    for (zone = store->first; zone != NULL; zone = zone->next) {
        if (is_word(name, len, zone->name)) {
            *out = zone;
            return FAULT_OK;
        }
    }
    zone = mem_zalloc(sizeof *zone);
    if (zone == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    memcpy(zone->name, name, len);
    zone->looked_ms = now_ms;
    if (strcmp(zone->name, "UTC") != 0) {
        bad = read_file(zone->name, &zone->rules, &zone->file, fault);
    }
    if (bad) {
        mem_free(zone);
        return bad;
    }
    zone->next = store->first;
    store->first = zone;
    *out = zone;
    return FAULT_OK;
}

const char *
tz_zone_name(const struct tz_zone *zone)
{
    return zone->name;
}

/* Whether the file is another one than the rules came from. */
static int
has_changed(const struct tz_zone *zone)
{
    char path[PATH_MAX];
    struct stat st;
    struct identity now;

    if (zone_path(zone->name, strlen(zone->name), path) != 0 || stat(path, &st) != 0) {
        return 1;
    }
    identify(&st, &now);
    return memcmp(&now, &zone->file, sizeof now) != 0;
}

const struct tz *
tz_zone_rules(struct tz_zone *zone, uint64_t now_ms)
{
    struct tz *rules = NULL;

    if (zone->rules == NULL) {
        return tz_utc();
    }
    if (now_ms - zone->looked_ms < TZ_LOOK_MS && now_ms >= zone->looked_ms) {
        return zone->rules;
    }
    zone->looked_ms = now_ms;
    if (!has_changed(zone)) {
        zone->stale = 0;
        return zone->rules;
    }
    zone->stale = read_file(zone->name, &rules, &zone->file, NULL) != FAULT_OK;
    if (!zone->stale) {
        tz_free(zone->rules);
        zone->rules = rules;
        zone->generation++;
    }
    return zone->rules;
}

unsigned
tz_zone_generation(const struct tz_zone *zone)
{
    return zone->generation;
}

int
tz_zone_is_stale(const struct tz_zone *zone)
{
    return zone->stale;
}
