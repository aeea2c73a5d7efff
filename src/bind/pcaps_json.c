/*
 * bind/pcaps_json: reads an answer's envelope straight into Lua values, without
 * a tree in between and without building what nobody asks for: a create spends
 * more on a general JSON reader than on everything else of ours together.
 * Gives what json_decode gives: integers as integers, nulls left out.
 */
#include "pcaps.h"

#include "json.h"

#include <lauxlib.h>
#include <string.h>

#define FIELDS_GUESS 14   /* of a result: room that need not grow */
#define INTEGER_DIGITS 18 /* that certainly fit a lua_Integer */
#define NUMBER_MAX 64     /* characters of any number */
#define REPLACEMENT 0xFFFD /* stands for what is no character */

/* What is left to read. The byte at END is a NUL, so that looking at one byte
 * is always allowed. */
struct reader {
    const char *p, *end;
    lua_State *L;
    int depth;
};

static int read_value(struct reader *r, int build);

static void
skip_blanks(struct reader *r)
{
    while (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r') {
        r->p++;
    }
}

/* Takes the byte C, with blanks around it. */
static int
take(struct reader *r, char c)
{
    skip_blanks(r);
    if (*r->p != c) {
        return 0;
    }
    r->p++;
    skip_blanks(r);
    return 1;
}

/* Reads four hexadecimal digits; -1 when they are none. */
static long
read_hex(struct reader *r)
{
    long value = 0;

    for (int i = 0; i < 4; i++, r->p++) {
        char c = *r->p;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Appends CODE as UTF-8. */
static void
add_utf8(luaL_Buffer *b, unsigned long code)
{
    char out[4];
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(first[n] | code);
    luaL_addlstring(b, out, n);
}

/* Reads what follows "\u" into *CODE. Half of a surrogate pair is no text: one
 * field of one capture must not make a whole list unreadable, so it becomes the
 * replacement character. */
static int
read_code(struct reader *r, unsigned long *code)
{
    long high = read_hex(r), low = -1;
    const char *behind = r->p;

    if (high < 0) {
        return -1;
    }
    *code = (unsigned long)high;
    if (high < 0xD800 || high > 0xDFFF) {
        return 0;
    }
    if (high <= 0xDBFF && r->p[0] == '\\' && r->p[1] == 'u') {
        r->p += 2;
        low = read_hex(r);
    }
    if (low < 0xDC00 || low > 0xDFFF) {
        r->p = behind; /* what follows is read by itself */
        *code = REPLACEMENT;
        return 0;
    }
    *code = 0x10000 + (((unsigned long)high - 0xD800) << 10) + ((unsigned long)low - 0xDC00);
    return 0;
}

/* Reads the escape behind a backslash into B. */
static int
read_escape(struct reader *r, luaL_Buffer *b)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at;
    unsigned long code;

    if (*r->p == 'u') {
        r->p++;
        if (read_code(r, &code) != 0) {
            return -1;
        }
        add_utf8(b, code);
        return 0;
    }
    at = *r->p != '\0' ? strchr(names, *r->p) : NULL;
    if (at == NULL) {
        return -1;
    }
    luaL_addchar(b, values[at - names]);
    r->p++;
    return 0;
}

/* The rest of a string with escapes, from START on; pushes it. */
static int
read_escaped(struct reader *r, const char *start)
{
    luaL_Buffer b;

    luaL_buffinit(r->L, &b);
    for (;;) {
        luaL_addlstring(&b, start, (size_t)(r->p - start));
        if (*r->p == '"') {
            break;
        }
        if (*r->p != '\\') {
            return -1;
        }
        r->p++;
        if (read_escape(r, &b) != 0) {
            return -1;
        }
        start = r->p;
        while ((unsigned char)*r->p >= ' ' && *r->p != '"' && *r->p != '\\') {
            r->p++;
        }
    }
    r->p++;
    luaL_pushresult(&b);
    return 0;
}

/* Reads the string behind a quote; pushes it when BUILD. */
static int
read_string(struct reader *r, int build)
{
    const char *start = r->p;

    while ((unsigned char)*r->p >= ' ' && *r->p != '"' && *r->p != '\\') {
        r->p++;
    }
    if (*r->p != '"') {
        if (read_escaped(r, start) != 0) {
            return -1;
        }
        if (!build) {
            lua_pop(r->L, 1);
        }
        return 0;
    }
    if (build) {
        (void)lua_pushlstring(r->L, start, (size_t)(r->p - start));
    }
    r->p++;
    return 0;
}

static size_t
count_digits(const char *p)
{
    size_t n = 0;

    while (p[n] >= '0' && p[n] <= '9') {
        n++;
    }
    return n;
}

/* The length of the number at START; 0 when it is none. *WHOLE: it has neither
 * fraction nor exponent. */
static size_t
number_length(const char *start, int *whole)
{
    const char *p = start + (*start == '-');
    size_t n = count_digits(p);

    if (n == 0 || (*p == '0' && n > 1)) {
        return 0;
    }
    p += n;
    *whole = *p != '.' && *p != 'e' && *p != 'E';
    if (*p == '.') {
        n = count_digits(++p);
        if (n == 0) {
            return 0;
        }
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        n = count_digits(p);
        if (n == 0) {
            return 0;
        }
        p += n;
    }
    return (size_t)(p - start);
}

/* [-0, +1, m] A number that is long or not whole: an integer when it is one. */
static void
push_number(lua_State *L, const char *start, size_t n)
{
    char text[NUMBER_MAX + 1];
    lua_Integer integer;
    int exact;

    memcpy(text, start, n);
    text[n] = '\0';
    if (lua_stringtonumber(L, text) == 0) {
        lua_pushinteger(L, 0); /* cannot happen: the form was checked */
    }
    integer = lua_tointegerx(L, -1, &exact);
    if (exact && !lua_isinteger(L, -1)) {
        lua_pop(L, 1);
        lua_pushinteger(L, integer);
    }
}

static int
read_number(struct reader *r, int build)
{
    const char *start = r->p;
    int whole, negative = *start == '-';
    size_t n = number_length(start, &whole);
    lua_Integer value = 0;

    if (n == 0 || n > NUMBER_MAX) {
        return -1;
    }
    r->p += n;
    if (!build) {
        return 0;
    }
    if (!whole || n > INTEGER_DIGITS) {
        push_number(r->L, start, n);
        return 0;
    }
    for (size_t i = (size_t)negative; i < n; i++) {
        value = value * 10 + (start[i] - '0');
    }
    lua_pushinteger(r->L, negative ? -value : value);
    return 0;
}

static int
read_word(struct reader *r, const char *word, size_t n)
{
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0) {
        return -1;
    }
    r->p += n;
    return 0;
}

/* Reads the members behind a brace. */
static int
read_object(struct reader *r, int build)
{
    if (build) {
        lua_createtable(r->L, 0, r->depth == 2 ? FIELDS_GUESS : 4);
    }
    if (take(r, '}')) {
        return 0;
    }
    do {
        if (*r->p != '"') {
            return -1;
        }
        r->p++;
        if (read_string(r, build) != 0 || !take(r, ':') || read_value(r, build) != 0) {
            return -1;
        }
        if (build) {
            lua_rawset(r->L, -3); /* a null leaves no field */
        }
    } while (take(r, ','));
    return take(r, '}') ? 0 : -1;
}

/* Reads the items behind a bracket. */
static int
read_array(struct reader *r, int build)
{
    lua_Integer n = 0;

    if (build) {
        lua_newtable(r->L);
    }
    if (take(r, ']')) {
        return 0;
    }
    do {
        if (read_value(r, build) != 0) {
            return -1;
        }
        if (!build) {
            continue;
        }
        if (lua_isnil(r->L, -1)) {
            lua_pop(r->L, 1);
        } else {
            lua_rawseti(r->L, -2, ++n);
        }
    } while (take(r, ','));
    return take(r, ']') ? 0 : -1;
}

/* Reads an object or array, one level down. */
static int
read_nested(struct reader *r, int build, int (*read)(struct reader *, int))
{
    int failed;

    if (++r->depth > JSON_DEPTH_MAX) {
        return -1;
    }
    luaL_checkstack(r->L, LUA_MINSTACK, NULL);
    r->p++;
    skip_blanks(r);
    failed = read(r, build);
    r->depth--;
    return failed;
}

/* Reads one value; pushes it when BUILD, nil for null. */
static int
read_value(struct reader *r, int build)
{
    lua_State *L = r->L;

    switch (*r->p) {
    case '{': return read_nested(r, build, read_object);
    case '[': return read_nested(r, build, read_array);
    case '"': r->p++; return read_string(r, build);
    case 't':
    case 'f':
        if (build) {
            lua_pushboolean(L, *r->p == 't');
        }
        return *r->p == 't' ? read_word(r, "true", 4) : read_word(r, "false", 5);
    case 'n':
        if (build) {
            lua_pushnil(L);
        }
        return read_word(r, "null", 4);
    default: return read_number(r, build);
    }
}

/* Reads one member of the envelope, its key included. The value of `result`
 * replaces the one at index RESULT. */
static int
read_member(struct reader *r, int result, int *success)
{
    const char *key = r->p;
    size_t n;

    if (*key != '"') {
        return -1;
    }
    r->p++;
    if (read_string(r, 0) != 0) {
        return -1;
    }
    n = (size_t)(r->p - key);
    if (!take(r, ':')) {
        return -1;
    }
    if (n == 8 && memcmp(key, "\"result\"", 8) == 0) {
        if (read_value(r, 1) != 0) {
            return -1;
        }
        lua_replace(r->L, result);
        return 0;
    }
    if (n == 9 && memcmp(key, "\"success\"", 9) == 0) {
        *success = *r->p != 'f';
    }
    return read_value(r, 0);
}

int
pcaps_read_envelope(lua_State *L, const struct buf *body, int *success)
{
    struct reader r = {.p = buf_cstr(body), .L = L, .depth = 1};
    int result;

    r.end = r.p + body->len;
    *success = 1; /* the status has said so already */
    lua_pushnil(L);
    result = lua_gettop(L);
    if (!take(&r, '{')) {
        return -1;
    }
    if (!take(&r, '}')) {
        do {
            if (read_member(&r, result, success) != 0) {
                return -1;
            }
        } while (take(&r, ','));
        if (!take(&r, '}')) {
            return -1;
        }
    }
    return r.p == r.end ? 0 : -1;
}
