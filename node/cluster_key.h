/* cluster_key.h -- the secret of --cluster-key-file, with which a cluster's nodes sign contexts. */
#ifndef NODE_CLUSTER_KEY_H
#define NODE_CLUSTER_KEY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"

#define CLUSTER_KEY_BYTES_MIN 32u
#define CLUSTER_KEY_BYTES_MAX 4096u

/* The file's text without the white space at its end, in the arena; empty when `path` is. INVALID
 * with a sentence in `why`. Warns in the log of a file that everybody may read. */
enum err cluster_key_read(struct arena *arena, const char *path, const struct log *log,
                          struct bytes *ret_secret, char *why, size_t why_size) MUST_USE;

#endif
