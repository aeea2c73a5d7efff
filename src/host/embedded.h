/* embedded: the Lua files inside the program, made by tools/embed.c. */
#ifndef MOONTAP_EMBEDDED_H
#define MOONTAP_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name;          /* module name; NULL ends the list */
    const unsigned char *code; /* bytecode of this build's Lua */
    size_t size;
};

extern const struct embedded_file embedded_files[];

#endif
