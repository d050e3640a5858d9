/* batch.h -- many seeds on several processes, and what they found.
 *
 * A seed that aborts its process (a CHECK, a sanitizer) is a failed seed like any other.
 */
#ifndef SIM_BATCH_H
#define SIM_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#define BATCH_JOBS_MAX 64u

struct batch_options {
    uint64_t start;
    uint64_t seeds;
    uint32_t jobs;
    uint32_t without;    /* bit set of fault classes to leave out */
    bool keep_going;     /* past failed seeds */
    const char *program; /* for the line that reproduces a failure */
};

/* True when every seed was clean and, from 200 seeds on, every fault class has fired. Prints. */
bool batch_run(const struct batch_options *options);
/* Runs one seed with a line for each event on stdout, or only its end. True: clean. */
bool batch_run_one(uint64_t seed, uint32_t without, bool trace);
/* Runs each seed twice; true when the trace hashes were the same. */
bool batch_check_determinism(uint64_t start, uint64_t seeds, uint32_t without);

#endif
