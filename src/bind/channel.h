/*
 * bind/channel: the end of the link that child mode has; see channel.c.
 */
#ifndef MOONTAP_BIND_CHANNEL_H
#define MOONTAP_BIND_CHANNEL_H

#include <lua.h>
#include <stddef.h>

/* [-0, +0, m] Makes module moontap.native.channel, which is not connected yet. */
void channel_open(lua_State *L);

/* [-0, +0, v] Connects it with descriptor CHILD_LINK_FD. Its state may be closed and
 * another one's channel connected with the same descriptor. */
void channel_connect(lua_State *L, size_t frame_max, size_t send_max);

#endif
