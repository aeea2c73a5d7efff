/*
 * fuzz: what the fuzz targets share. A target is a file fuzz_NAME.c with
 * LLVMFuzzerTestOneInput; what it promises about foreign bytes is said by
 * `must`. Built with clang's -fsanitize=fuzzer in the preset fuzz, and with a
 * main that replays the corpus (replay.c) everywhere else.
 */
#ifndef MOONTAP_TEST_FUZZ_H
#define MOONTAP_TEST_FUZZ_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program with the place of a promise that does not hold. */
#define must(holds)                              \
    do {                                         \
        if (!(holds)) {                          \
            fuzz_fail(__FILE__, __LINE__, #holds); \
        }                                        \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* One state with the whole host, made at the first call. Its stack is empty. */
lua_State *fuzz_state(void);
/* Ends a turn: empties the stack and now and then collects. */
void fuzz_turn_over(lua_State *L);
/* [-0, +1, v] Pushes what CODE returns; it is compiled once, by its address. */
void fuzz_eval(lua_State *L, const char *code);

/* The bytes of an input, taken from the front; behind the end come zeros. */
struct input {
    const uint8_t *at;
    size_t left;
};

uint8_t input_byte(struct input *in);
/* At most MAX bytes behind a byte that says how many; *LEN of them. */
const char *input_text(struct input *in, size_t max, size_t *len);

#endif
