/*
 * bind/pcaps: what the files of the native binding share (module
 * moontap.native.pcaps). One attempt of each operation of the PCAPs API;
 * whether to try again is decided in lua/pcaps/retry.lua.
 */
#ifndef MOONTAP_BIND_PCAPS_H
#define MOONTAP_BIND_PCAPS_H

#include "../buf.h"
#include "../http/http.h"
#include "../pcaps_schema.h"
#include "../task.h"

#include <lua.h>

#define PCAPS_CLIENT_META "moontap.pcaps.client"
#define PCAPS_CALL_META "moontap.pcaps.call"

#define PCAPS_TOKEN_MAX 1000
#define PCAPS_EMAIL_MAX 254
#define PCAPS_URL_MAX 1024
#define PCAPS_SEGMENT_MAX (3 * SCHEMA_ID_MAX + 1) /* an id, percent-encoded */
#define PCAPS_SUFFIX_MAX (PCAPS_SEGMENT_MAX + 32)
#define PCAPS_BODY_MAX (256u << 10) /* of a request */

enum pcaps_op {
    PCAPS_CREATE,
    PCAPS_LIST,
    PCAPS_GET,
    PCAPS_STOP,
    PCAPS_DOWNLOAD,
    PCAPS_OWNERSHIP_CREATE,
    PCAPS_OWNERSHIP_LIST,
    PCAPS_OWNERSHIP_DELETE,
    PCAPS_OWNERSHIP_VALIDATE
};

/* What an answer's result becomes. */
enum pcaps_result {
    PCAPS_CAPTURE,
    PCAPS_CAPTURES,
    PCAPS_PLAIN,
    PCAPS_LIST_OF,
    PCAPS_NOTHING,
    PCAPS_FILE
};

struct pcaps_op_info {
    const char *name; /* "ownership.create" */
    const char *method;
    const char *before; /* path behind …/pcaps, before the id */
    const char *after;  /* … and behind it */
    const char *accept;
    enum pcaps_result result;
    int writes; /* needs the Write permission group */
};

/* Everything that must never be shown; wiped when the client goes away. */
struct pcaps_secrets {
    char authorization[sizeof "Bearer " + PCAPS_TOKEN_MAX];
    char email[PCAPS_EMAIL_MAX + 1];
    char key[PCAPS_TOKEN_MAX + 1];
};

/*
 * User values: 1 the table of fields that scripts see, 2 the metatable of
 * captures, 3 the weak table from captures to their cf-ray.
 */
struct pcaps_client {
    struct pcaps_secrets secrets;
    int ready;           /* url and secrets are set */
    uint32_t timeout_ms; /* of one attempt */
    size_t url_len;
    size_t base_len;     /* of the base URL in url */
    char origin[160];    /* where the credentials come from, in words */
    size_t path_at;                                   /* where the path starts in url */
    char url[PCAPS_URL_MAX + PCAPS_SEGMENT_MAX + 32]; /* …/accounts/ID/pcaps */
};

/* One attempt under way. */
struct pcaps_call {
    struct http_exchange *exchange; /* owned; NULL when not started or over */
    struct tasks *tasks;
    struct task_ref ref;
    enum pcaps_op op;
    int abandoned;                 /* cancelled while the request was under way */
    struct buf body;               /* of the request */
    char suffix[PCAPS_SUFFIX_MAX]; /* of the path, behind …/pcaps */
    char ray[64];                  /* cf-ray of the answer, or "" */
    struct http_file file;         /* of a download */
};

/* How one call is to be made; from its option table. */
struct pcaps_options {
    uint32_t timeout_ms; /* 0: the client's */
    int allow_ipv6;
    int64_t asked_us;    /* when the window was asked for; 0: now */
};

extern const struct pcaps_op_info pcaps_ops[];

/* pcaps_redact.c ------------------------------------------------------------ */

/*
 * [-0, +0, m] Overwrites in TEXT, which came from outside, the credentials of
 * the client at index 1, the keys in the destination_conf of the parameters at
 * index 2, and what a text names as a bucket's key.
 */
void pcaps_hide_secrets(lua_State *L, char *text, size_t len);
/* [-0, +0, m] The same, and the queries of bucket URIs, for the value at the
 * top and all strings in it. */
void pcaps_redact(lua_State *L);

/* pcaps_client.c ---------------------------------------------------------- */

/* [-0, +0, m] Makes the metatable of clients. */
void pcaps_open_client(lua_State *L);
/* [-0, +0, v] The client at ARG, set up or not. */
struct pcaps_client *pcaps_check_client(lua_State *L, int arg);
/* client(fields, capture_meta, rays) -> client that is not set up */
int pcaps_client_new(lua_State *L);
/* authorize(client, {base_url, account_id, timeout, …}) -> true | nil, err */
int pcaps_client_authorize(lua_State *L);
/* Percent-encodes N bytes of TEXT as one path segment; OUT has room for three
 * bytes each and the NUL. Returns OUT. */
char *pcaps_encode(const char *text, size_t n, char *out);

/* pcaps_check.c ----------------------------------------------------------- */

/* [-0, +0, v] Reads the option table at ARG (nil: none); raises on a key that
 * is none, or a value that cannot be used, at LEVEL of the stack. */
void
pcaps_read_options(lua_State *L, int arg, const char *op, int level, struct pcaps_options *options);
/* [-0, +0, v] Reads and checks the parameters at ARG; raises with all problems
 * at LEVEL. RECORD borrows the table's strings. */
void pcaps_read_params(lua_State *L, int arg, enum pcaps_op op,
                       const struct pcaps_options *options, int level,
                       struct schema_record *record);
/* [-0, +0, v] The id at ARG, checked; borrowed. */
const char *pcaps_read_id(lua_State *L, int arg, enum pcaps_op op, int level, size_t *len);
/* check(op, subject, options): what scripts call before an effect */
int pcaps_check(lua_State *L);

/* pcaps_answer.c ---------------------------------------------------------- */

/* [-0, +n, m] Pushes the results of the attempt CALL of CLIENT (at index 1),
 * which has ended: the value, or nil and an error. Returns their number. */
int pcaps_push_answer(lua_State *L, struct pcaps_call *call);
/* [-0, +2, m] Pushes nil and the error of an attempt that got no answer. */
int pcaps_push_fault(lua_State *L, const struct pcaps_call *call, const struct fault *fault,
                     enum http_sent sent, uint64_t elapsed_ms);
/* observe(fn | nil): FN gets a table about each exchange that has ended. */
int pcaps_observe(lua_State *L);

/* pcaps_json.c ------------------------------------------------------------ */

/* [-0, +?, m] Reads the envelope BODY: pushes the value of `result` (nil when
 * there is none) and sets *SUCCESS (true unless it says false). Returns -1 when
 * it is no JSON object; the stack may then hold more. */
int pcaps_read_envelope(lua_State *L, const struct buf *body, int *success);

/* pcaps_file.c ------------------------------------------------------------ */

/* Checks that the file FD is a pcap or pcapng, and that a pcap ends where a
 * packet ends. */
enum fault_code pcaps_file_check(int fd, struct fault *fault);

#endif
