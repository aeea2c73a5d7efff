/*
 * bind/schema: reads Lua tables into schema records; shared by the module
 * moontap.native.schema and the binding of the API.
 */
#ifndef MOONTAP_BIND_SCHEMA_H
#define MOONTAP_BIND_SCHEMA_H

#include "../pcaps_schema.h"

#include <lua.h>

/*
 * [-0, +0, -] Reads the table at INDEX into RECORD for OP. The record borrows
 * the strings of the table, which must stay reachable and unchanged.
 * Metatables are not looked at.
 */
void schema_read(lua_State *L, int index, enum schema_op op, struct schema_record *record);

/* [-0, +1, m] Pushes PROBLEMS as one text: on one line when there is one
 * problem, else one a line below the number. */
void schema_push_text(lua_State *L, const struct schema_problems *problems);

#endif
