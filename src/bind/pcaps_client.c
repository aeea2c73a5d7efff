/*
 * bind/pcaps_client: the client userdata: which account at which address with
 * which credentials. Owns the secrets and wipes them.
 *
 * A client is made empty and set up when its first effect needs it, so that a
 * script that only loads, or only checks, asks for no credentials.
 */
#include "pcaps.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP "\"Magic Firewall Packet Captures - "
#define PIPE_PATIENCE_MS 10000
#define HOW_TO                                                                                \
    "set CLOUDFLARE_API_TOKEN or give --token-file (or set CLOUDFLARE_EMAIL and "             \
    "CLOUDFLARE_API_KEY). The token needs the permission group " GROUP "Read PCAPs API\" to " \
    "list, get and download, or " GROUP "Write PCAPs API\" to create and stop too. "          \
    "--sim needs no credentials"

struct pcaps_client *
pcaps_check_client(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, PCAPS_CLIENT_META);
}

char *
pcaps_encode(const char *text, size_t n, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = out;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 128 && (isalnum(c) || strchr("-._~", c) != NULL)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    *p = '\0';
    return out;
}

static int
client_gc(lua_State *L)
{
    struct pcaps_client *client = pcaps_check_client(L, 1);

    explicit_bzero(&client->secrets, sizeof client->secrets);
    client->ready = 0;
    return 0;
}

static int
client_tostring(lua_State *L)
{
    struct pcaps_client *client = pcaps_check_client(L, 1);
    const char *path = client->url + client->path_at;
    const char *account = client->ready ? strstr(path, "/accounts/") : NULL;

    if (account == NULL) {
        lua_pushliteral(L, "pcaps client (not set up yet)");
        return 1;
    }
    account += strlen("/accounts/");
    lua_pushliteral(L, "pcaps client (account ");
    lua_pushlstring(L, account, strcspn(account, "/"));
    lua_pushliteral(L, " at ");
    lua_pushlstring(L, client->url, client->path_at);
    lua_pushliteral(L, ")");
    lua_concat(L, 5);
    return 1;
}

static int
client_index(lua_State *L)
{
    (void)pcaps_check_client(L, 1);
    (void)lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    (void)lua_rawget(L, -2);
    return 1;
}

static int
client_newindex(lua_State *L)
{
    return luaL_error(L, "a client's fields cannot be set");
}

void
pcaps_open_client(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", client_gc},
        {"__index", client_index},
        {"__newindex", client_newindex},
        {"__tostring", client_tostring},
        {NULL, NULL},
    };

    if (luaL_newmetatable(L, PCAPS_CLIENT_META)) {
        luaL_setfuncs(L, meta, 0);
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}

int
pcaps_client_new(lua_State *L)
{
    struct pcaps_client *client;

    for (int arg = 1; arg <= 3; arg++) {
        luaL_checktype(L, arg, LUA_TTABLE);
    }
    client = lua_newuserdatauv(L, sizeof *client, 3);
    memset(client, 0, sizeof *client);
    luaL_setmetatable(L, PCAPS_CLIENT_META);
    for (int i = 1; i <= 3; i++) {
        lua_pushvalue(L, i);
        (void)lua_setiuservalue(L, -2, i);
    }
    return 1;
}

/* [-0, +2, m] */
static int
refuse(lua_State *L, const char *kind, const char *message)
{
    lua_pushnil(L);
    task_new_error(L, kind, message);
    return 2;
}

/* Field NAME of the settings at index 2, a string of at most MAX bytes, or
 * NULL when it is not there. Leaves one value on the stack. */
static const char *
setting(lua_State *L, const char *name, size_t max)
{
    size_t len;
    const char *s;

    if (lua_getfield(L, 2, name) == LUA_TNIL) {
        return NULL;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        (void)luaL_error(L, "%s: expected a string, got %s", name, luaL_typename(L, -1));
    }
    s = lua_tolstring(L, -1, &len);
    if (strlen(s) != len || len > max) {
        (void)luaL_error(L, "%s: is too long or holds a NUL byte", name);
    }
    return s;
}

/* Copies the credential TEXT without the blanks around it to OUT. WHAT names
 * it. The message of a failure holds nothing of it. */
static enum fault_code
copy_secret(const char *text, const char *what, char *out, size_t size, struct fault *fault)
{
    size_t n;

    while (isspace((unsigned char)*text)) {
        text++;
    }
    n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1])) {
        n--;
    }
    if (n == 0) {
        return fault_set(fault, FAULT_INVALID, "%s is empty", what);
    }
    if (n >= size) {
        return fault_set(fault, FAULT_INVALID, "%s is longer than %zu bytes", what, size - 1);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c <= ' ' || c >= 127 || strchr("\"'`", c) != NULL) {
            return fault_set(fault, FAULT_INVALID, "%s holds a quote, blank or control character",
                             what);
        }
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return FAULT_OK;
}

static enum fault_code
set_token(struct pcaps_secrets *s, const char *token, const char *what, struct fault *fault)
{
    size_t prefix = strlen("Bearer ");

    memcpy(s->authorization, "Bearer ", prefix);
    return copy_secret(token, what, s->authorization + prefix, sizeof s->authorization - prefix,
                       fault);
}

static enum fault_code
set_key(struct pcaps_secrets *s, const char *email, const char *key, struct fault *fault)
{
    enum fault_code code = copy_secret(email, "the API email", s->email, sizeof s->email, fault);

    return code != FAULT_OK ? code : copy_secret(key, "the API key", s->key, sizeof s->key, fault);
}

/* Refuses a token FILE that others can read. A pipe has no such mode. */
static enum fault_code
check_mode(int fd, const char *file, struct fault *fault)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return fault_set(fault, FAULT_IO, "token file %s: %s", file, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return fault_set(fault, FAULT_IO, "token file %s: is a directory", file);
    }
    if (S_ISREG(st.st_mode) && (st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        return fault_set(fault, FAULT_INVALID,
                         "token file %s can be read or written by everybody: chmod 640 %s", file,
                         file);
    }
    return FAULT_OK;
}

/* Waits until FD, which may be a pipe that somebody still has to write to, can
 * be read. Returns 0, or -1 with errno set. */
static int
wait_for_pipe(int fd)
{
    struct pollfd input = {.fd = fd, .events = POLLIN};
    int ready;

    ready = poll(&input, 1, PIPE_PATIENCE_MS); /* a signal ends it: the run is to stop */
    if (ready == 0) {
        errno = ETIMEDOUT;
    }
    return ready > 0 ? 0 : -1;
}

/* Reads FD into TEXT (SIZE bytes) as a C string. Returns its length, or -1 with
 * errno set. */
static ssize_t
read_all(int fd, char *text, size_t size)
{
    size_t n = 0;
    ssize_t got = 1;

    while (got > 0 && n < size - 1) {
        if (wait_for_pipe(fd) != 0) {
            return -1;
        }
        got = read(fd, text + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    text[n] = '\0';
    return got < 0 ? -1 : (ssize_t)n;
}

static enum fault_code
read_token(int fd, const char *file, struct pcaps_secrets *s, struct fault *fault)
{
    char text[PCAPS_TOKEN_MAX + 256], label[FAULT_MSG_MAX / 2];
    ssize_t n = read_all(fd, text, sizeof text);
    enum fault_code code;

    if (n < 0) {
        code = fault_set(fault, FAULT_IO, "token file %s: %s", file, strerror(errno));
    } else if (strlen(text) != (size_t)n) {
        code = fault_set(fault, FAULT_INVALID, "token file %s holds a NUL byte", file);
    } else {
        (void)snprintf(label, sizeof label, "the token in %s", file);
        code = set_token(s, text, label, fault);
    }
    explicit_bzero(text, sizeof text);
    return code;
}

static enum fault_code
set_token_file(struct pcaps_secrets *s, const char *file, struct fault *fault)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    enum fault_code code;

    if (fd < 0) {
        return fault_set(fault, FAULT_IO, "token file %s: %s", file, strerror(errno));
    }
    code = check_mode(fd, file, fault);
    if (code == FAULT_OK) {
        code = read_token(fd, file, s, fault);
    }
    (void)close(fd);
    return code;
}

/* A variable of the environment; blank counts as not set. */
static const char *
environment(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[strspn(value, " \t\r\n")] != '\0' ? value : NULL;
}

/* Where the secrets come from. */
struct sources {
    const char *token, *token_file, *email, *key;
    int is_environment;
};

/* Says in CLIENT where its credentials come from, for the error that refuses
 * them. */
static void
note_origin(struct pcaps_client *client, const struct sources *from)
{
    const char *where = from->is_environment ? "CLOUDFLARE_API_TOKEN" : "api_token";

    if (from->token_file != NULL) {
        (void)snprintf(client->origin, sizeof client->origin, "token file %s", from->token_file);
        return;
    }
    if (from->token == NULL) {
        where = from->is_environment ? "CLOUDFLARE_EMAIL and CLOUDFLARE_API_KEY"
                                     : "api_email and api_key";
    }
    (void)snprintf(client->origin, sizeof client->origin, "%s", where);
}

static enum fault_code
set_secrets(struct pcaps_secrets *s, const struct sources *from, struct fault *fault)
{
    explicit_bzero(s, sizeof *s);
    if (from->token_file != NULL) {
        return set_token_file(s, from->token_file, fault);
    }
    if (from->token != NULL) {
        return set_token(s, from->token, "the API token", fault);
    }
    if (from->email != NULL && from->key != NULL) {
        return set_key(s, from->email, from->key, fault);
    }
    if (from->email != NULL || from->key != NULL) {
        return fault_set(fault, FAULT_INVALID, "%s is missing: %s go together",
                         from->email == NULL ? "the API email" : "the API key",
                         "CLOUDFLARE_EMAIL and CLOUDFLARE_API_KEY (api_email and api_key)");
    }
    return fault_set(fault, FAULT_INVALID, "no credentials");
}

/* May the credentials go to HOST (N bytes) without TLS? */
static int
is_local(const char *host, size_t n)
{
    static const char *const names[] = {"localhost", "[::1]", "sim.internal"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == n && strncasecmp(names[i], host, n) == 0) {
            return 1;
        }
    }
    return n >= 7 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= n;
}

/* Takes BASE_URL and ACCOUNT over into CLIENT's url. */
static enum fault_code
set_url(struct pcaps_client *client, const char *base_url, const char *account, struct fault *fault)
{
    size_t n = strlen(base_url), scheme, host;
    char segment[PCAPS_SEGMENT_MAX];

    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)base_url[i] <= ' ' || base_url[i] == 127) {
            return fault_set(fault, FAULT_INVALID, "base URL: holds a blank or control character");
        }
    }
    scheme = strncasecmp(base_url, "https://", 8) == 0  ? 8
             : strncasecmp(base_url, "http://", 7) == 0 ? 7
                                                        : 0;
    host = scheme + strcspn(base_url + scheme, "/?#");
    if (scheme == 0 || host == scheme || strpbrk(base_url, "?#@") != NULL) {
        return fault_set(fault, FAULT_INVALID,
                         "base URL: expected https://host/path without user, query or fragment");
    }
    if (scheme == 7) {
        size_t name =
            base_url[7] == '[' ? strcspn(base_url + 7, "]") + 1 : strcspn(base_url + 7, ":/");

        if (!is_local(base_url + 7, name)) {
            return fault_set(fault, FAULT_INVALID,
                             "base URL: http:// would send the credentials in clear; it is "
                             "only for this machine");
        }
    }
    while (n > host && base_url[n - 1] == '/') {
        n--;
    }
    client->path_at = host;
    client->base_len = n;
    client->url_len =
        (size_t)snprintf(client->url, sizeof client->url, "%.*s/accounts/%s/pcaps", (int)n,
                         base_url, pcaps_encode(account, strlen(account), segment));
    return FAULT_OK;
}

/* An account id becomes a segment of the path. */
static const char *
account_problem(const char *account, struct schema_problems *problems)
{
    struct schema_record record;
    const struct schema_rules rules = {.side = SCHEMA_CLIENT};

    schema_record_init(&record, SCHEMA_ID);
    record.values[0].kind = SCHEMA_IS_STRING;
    record.values[0].as.text = account;
    record.values[0].len = strlen(account);
    return schema_check(&record, &rules, problems) > 0 ? problems->items[0].message : NULL;
}

/* The kinds that setting up can fail with: io, usage (base URL), else
 * credentials. */
int
pcaps_client_authorize(lua_State *L)
{
    struct pcaps_client *client = pcaps_check_client(L, 1);
    const char *base_url, *account, *problem;
    struct sources from = {0};
    struct schema_problems problems;
    struct fault fault;
    enum fault_code code;
    lua_Integer timeout_ms;

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    base_url = setting(L, "base_url", PCAPS_URL_MAX);
    account = setting(L, "account_id", 4096);
    from.token = setting(L, "api_token", 65536);
    from.token_file = setting(L, "token_file", 4096);
    from.email = setting(L, "api_email", 65536);
    from.key = setting(L, "api_key", 65536);
    (void)lua_getfield(L, 2, "timeout_ms");
    timeout_ms = luaL_checkinteger(L, -1);
    client->timeout_ms = timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms : UINT32_MAX;
    if (from.token == NULL && from.token_file == NULL && from.email == NULL && from.key == NULL) {
        from.token = environment("CLOUDFLARE_API_TOKEN");
        from.email = environment("CLOUDFLARE_EMAIL");
        from.key = environment("CLOUDFLARE_API_KEY");
        from.is_environment = 1;
    }
    note_origin(client, &from);
    code = set_secrets(&client->secrets, &from, &fault);
    if (code != FAULT_OK) {
        if (from.token == NULL && from.token_file == NULL) { /* nothing to mend: how to begin */
            lua_pushfstring(L, "%s: %s%s", fault.msg,
                            account == NULL ? "set CLOUDFLARE_ACCOUNT_ID, and " : "", HOW_TO);
        } else {
            lua_pushstring(L, fault.msg);
        }
        return refuse(L, "credentials", lua_tostring(L, -1));
    }
    if (account == NULL) {
        return refuse(L, "credentials",
                      "no account: set CLOUDFLARE_ACCOUNT_ID, give --account-id, or pass "
                      "account_id to pcaps.client. --sim needs none");
    }
    problem = account_problem(account, &problems);
    if (problem != NULL) {
        lua_pushfstring(L, "the account id %s", problem);
        return refuse(L, "credentials", lua_tostring(L, -1));
    }
    if (base_url == NULL || set_url(client, base_url, account, &fault) != FAULT_OK) {
        return refuse(L, "usage", base_url == NULL ? "no base URL" : fault.msg);
    }
    client->ready = 1;
    lua_pushboolean(L, 1);
    return 1;
}
