/* limits.h -- the numbers of DESIGN.md section 10 and what follows from them. */
#ifndef MODEL_LIMITS_H
#define MODEL_LIMITS_H

#include <assert.h>

#define KEY_BYTES_MAX           4096u
#define VALUE_BYTES_MAX_DEFAULT (1024u * 1024)
#define VALUE_BYTES_MAX_CEILING (3u * 1024 * 1024)
#define KEYSPACE_NAME_MAX       63u
#define KEYSPACES_MAX           256u
#define BATCH_ITEMS_MAX         1000u
#define BATCH_BYTES_MAX         (3u * 1024 * 1024)
#define METADATA_BYTES_MAX      8192u
#define GRPC_MESSAGE_BYTES_MAX  (4u * 1024 * 1024)
#define STREAMS_MAX             256u
#define DEADLINE_DEFAULT_MS     5000u
#define DEADLINE_MAX_MS         60000u
#define CONTEXT_BYTES_MAX       16384u

#define MEMBERS_MAX        64u
#define DATA_CENTERS_MAX   8u
#define PARTITIONS_MIN     8u
#define PARTITIONS_MAX     1024u
#define PARTITIONS_DEFAULT 64u
#define REPLICAS_MAX       7u /* N of one data centre */
/* Of one key, in all data centres; while it goes over, in both sets. */
#define REPLICAS_TOTAL_MAX MEMBERS_MAX
static_assert(REPLICAS_MAX * DATA_CENTERS_MAX <= REPLICAS_TOTAL_MAX, "each is a member");
#define WEIGHT_MAX 64u

#define SIBLINGS_WARN     25u
#define SIBLINGS_MAX      100u
#define CLOCK_ENTRIES_MAX 50u

/* A record that travels to other nodes, in one message with its key; the rest is for the frame and
 * the message's small fields. */
#define RECORD_BYTES_MAX (GRPC_MESSAGE_BYTES_MAX - KEY_BYTES_MAX - 320u)
static_assert(VALUE_BYTES_MAX_CEILING + 2 * CONTEXT_BYTES_MAX < RECORD_BYTES_MAX, "value fits");

#endif
