/*
 * stem_int: what the host's side of the stem (stem.c) and its own (stem_process.c) share.
 */
#ifndef MOONTAP_STEM_INT_H
#define MOONTAP_STEM_INT_H

#include "stem.h"

#include <stdint.h>
#include <sys/types.h>

#define STEM_WORD "playbook-stem:" MOONTAP_BUILD_ID /* its first argument */
#define STEM_FDS_OF_BRANCH 2 /* that come with orders: its link, its output */

#ifndef __NR_close_range
#define __NR_close_range 436
#endif

/* The answer to a request: of the branch itself, or of the stem that could not make it. */
struct stem_answer {
    uint64_t number; /* of the request */
    pid_t pid;       /* -1: WHY says */
    int why;
};

#endif
