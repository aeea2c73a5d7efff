/*
 * What a playbook's process sends: bytes in pieces become frames within their
 * bound, and what the host makes of the text of a frame is either one that may
 * come now, or a reason.
 *
 * Input: the bound on frames, whether descriptors may come, the size of pieces,
 * then the stream.
 */
#include "fuzz.h"

#include "frame.h"

#include <lauxlib.h>
#include <string.h>

static const char CHECK[] =
    "local check = require 'moontap.child.check'\n"
    "local protocol = require 'moontap.child.protocol'\n"
    "local reader = check.new({ ping = print, source = print }, 3)\n"
    "return function(text)\n"
    "  local frame, why = reader.read(text)\n"
    "  if not frame then return type(why) == 'string' and #why < 200 end\n"
    "  if frame.call then\n"
    "    reader.answered()\n"
    "    local n = select('#', protocol.unpack(frame.args))\n"
    "    return n <= protocol.VALUES_MAX and n == frame.args.n\n"
    "  end\n"
    "  if frame.err then return tostring(protocol.to_error(frame.err)) == frame.err.message end\n"
    "  return frame.drop or select('#', protocol.unpack(frame.values)) <= protocol.VALUES_MAX\n"
    "end\n";

static void
check_frame(lua_State *L, const struct frame *frame)
{
    fuzz_eval(L, CHECK);
    lua_pushlstring(L, frame->data, frame->len);
    must(lua_pcall(L, 1, 1, 0) == LUA_OK);
    must(lua_toboolean(L, -1));
    lua_pop(L, 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_state();
    struct input in = {data, size};
    size_t max = 1 + 8u * input_byte(&in);
    int allows_fds = input_byte(&in) & 1;
    size_t piece = 1u + input_byte(&in);
    struct frame_reader reader;
    enum fault_code code = FAULT_OK;
    struct fault fault;

    fault_clear(&fault);
    frame_reader_init(&reader, max, allows_fds);
    while (code == FAULT_OK && in.left > 0) {
        const char *at = (const char *)in.at;
        size_t n = piece < in.left ? piece : in.left, left = n;

        while (code == FAULT_OK && left > 0) {
            struct frame *frame;
            size_t before = left;

            code = frame_read(&reader, &at, &left, &frame, &fault);
            must(code != FAULT_OK || left < before);
            if (frame != NULL) {
                must(code == FAULT_OK && frame->len > 0 && frame->len <= max);
                must(frame->fd == -1 && frame->data[frame->len] == '\0');
                must(allows_fds || !frame->wants_fd);
                check_frame(L, frame);
                frame_free(frame);
            }
        }
        in.at += n;
        in.left -= n;
    }
    must(code == FAULT_OK || code == FAULT_PROTOCOL || code == FAULT_LIMIT);
    must((code == FAULT_OK) == (fault.msg[0] == '\0'));
    frame_reader_fini(&reader);
    fuzz_turn_over(L);
    return 0;
}
