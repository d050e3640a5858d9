/* identity.h -- who is on the other end of a peer link: the same life of a member as before, a
 * later one, or a copy.
 *
 * A member's data directory holds a random node id and a counter (generation), raised by each start
 * and every few seconds while it runs; each process draws a nonce when it starts. Every node keeps
 * a durable row {node id, generation, nonce} of each other member, the incarnation that it last
 * accepted, and judges each hello against it:
 *
 *     no row                                                     FIRST      recorded
 *     same id, same nonce                                        SAME       a greater generation is
 *     anyone else, while the recorded one answers                DUPLICATE
 *     anyone else, while a link to it is not known to be down    PROBE      ask it, judge again
 *     else: same id, higher generation                           RESTARTED  recorded
 *           same id, generation not higher, other nonce          RESTORED
 *           other id that supersedes the recorded one            REPLACED   recorded
 *           other id                                             WIPED
 *
 * Who judges another life than the recorded one is told the generation that it began with, and
 * nothing is raised before a peer has accepted this life; the raised ones are for those that have.
 * Else an older copy that runs alone for as long as it is old has raised its own above what they
 * remember, and is taken for the node itself, at the latest when it has started once more.
 *
 * So a member is one process at a time, as far as each peer can see; a copy of a directory is
 * refused while the first runs; and a directory that has forgotten what peers have seen of it (an
 * empty one under a known name, an older copy) goes on only as a new incarnation: a fresh id that
 * names those it supersedes, and no vote until anti-entropy has proven its data complete. The row
 * of an old incarnation is never taken up again, so a hello that comes late changes nothing.
 *
 * Who speaks to a member that does not list it (model/topology.h) is not judged by a row: UNKNOWN
 * if its number is still to be given as far as that document goes, REMOVED if it was given and
 * taken.
 *
 * What generations cannot show: a copy that was taken, and the first ended, before the next
 * generation was told to anybody (some seconds), is RESTARTED although it may lack the last writes;
 * so is one of the same raise whose starts have caught up before it met anybody, and any for a peer
 * that has no row (and then, once it has raised its own and started again, for the others). Each
 * key's own clock shows it (amnesia, version.h), and key epochs that begin at the start's time
 * (boot.h) keep its dots unique. A key whose tombstone was reaped since the copy has no clock left
 * to show it; there the floor does that its peers have noted as reaped (actors/message_range.h,
 * reap_seal).
 *
 * Source: DESIGN.md 4; RELIABILITY rules 2, 29, 30.
 */
#ifndef MODEL_IDENTITY_H
#define MODEL_IDENTITY_H

#include "base/arena.h"
#include "base/err.h"

#define NODE_ID_BYTES             16u
#define IDENTITY_SUPERSEDED_MAX   16u
#define IDENTITY_SUPERSEDED_BYTES (IDENTITY_SUPERSEDED_MAX * NODE_ID_BYTES)

struct node_id {
    uint8_t bytes[NODE_ID_BYTES]; /* all zero: none */
};

/* A generation counts the starts in its low bits (which ids of messages are made of), the raises
 * above them. */
#define IDENTITY_RAISE ((uint64_t)1 << 16)

static inline uint64_t identity_starts(uint64_t generation)
{
    return generation & (IDENTITY_RAISE - 1);
}

/* One life of a member: the durable row of a peer. */
struct identity {
    struct node_id node_id;
    uint64_t generation; /* durable, from 1 */
    uint64_t start_nonce;
};

/* What a node says of itself. Durable on its side, but for the nonce. */
struct identity_hello {
    struct identity self;
    uint32_t superseded_count;
    struct node_id superseded[IDENTITY_SUPERSEDED_MAX]; /* ids that it has taken the place of, the
                                                         * oldest first */
};

/* Of a link to the incarnation in the row. */
enum identity_liveness {
    IDENTITY_GONE,    /* none, or it is known to be down */
    IDENTITY_LINKED,  /* up as far as we know: a dead host's link looks like that for a while */
    IDENTITY_ANSWERS, /* it has answered something that was sent after the hello came */
};

#define IDENTITY_VERDICT_TABLE(X)                                                                  \
    X(FIRST, "first contact")                                                                      \
    X(SAME, "the same process")                                                                    \
    X(RESTARTED, "restarted")                                                                      \
    X(REPLACED, "a new incarnation of the member")                                                 \
    X(PROBE, "another incarnation may still run, ask again")                                       \
    X(DUPLICATE, "another process of this member is running")                                      \
    X(RESTORED, "the data directory is an older copy of itself")                                   \
    X(WIPED, "the member was known under another node id")                                         \
    X(UNKNOWN, "not known as a member yet, ask again")                                             \
    X(REMOVED, "removed from the cluster")

enum identity_verdict {
#define X(name, text) IDENTITY_##name,
    IDENTITY_VERDICT_TABLE(X)
#undef X
        IDENTITY_VERDICTS
};

/* What the one who said hello does with the verdict. */
enum identity_action {
    IDENTITY_PROCEED,
    IDENTITY_RETRY, /* the hello, later: the judge is finding out */
    IDENTITY_RENEW, /* end all links (that incarnation is over), identity_renew(), make it durable,
                     * vote no more, say hello again */
    IDENTITY_STOP,  /* end the process with a message: two of one member must not run, and none of
                     * one that was removed */
};

/* `known` NULL: no row. */
enum identity_verdict identity_judge(const struct identity *known,
                                     const struct identity_hello *hello,
                                     enum identity_liveness liveness);
/* The verdicts after which hello->self becomes the row, durable before the link is used. */
bool identity_recorded(enum identity_verdict verdict);
enum identity_action identity_action_of(enum identity_verdict verdict);
const char *identity_text(enum identity_verdict verdict);

/* The hello of a new incarnation after RESTORED or WIPED. `known` is the id that the judge has on
 * record (part of its answer), `fresh` a random id, `votes` whether the directory counts as
 * complete now. Takes the fresh id, generation 1, and supersedes its old id and `known`; but a
 * directory that does not vote yet has no claims to give up: it keeps its id and adds `known`, so
 * that it settles with peers of different memories. Beyond IDENTITY_SUPERSEDED_MAX the oldest are
 * forgotten. */
struct identity_hello identity_renew(const struct identity_hello *mine,
                                     enum identity_verdict verdict, struct node_id known,
                                     struct node_id fresh, bool votes);

/* Names ids of earlier lives too, the oldest first: as older than those that `hello` names, which
 * are kept before them. So who is told of one life by a peer takes the place of those before it as
 * well, and a peer whose memory is older than that does not take it for wiped. */
void identity_supersede(struct identity_hello *hello, const struct node_id *ids, uint32_t count);

bool node_id_equal(struct node_id a, struct node_id b);
bool node_id_is_none(struct node_id id);

/* -- as bytes: CORRUPT for what is malformed, UNSUPPORTED for another version of it -------------
 */

struct bytes identity_encode(struct arena *arena, const struct identity *identity);
enum err identity_decode(struct bytes bytes, struct identity *ret_identity) MUST_USE;
struct bytes identity_hello_encode(struct arena *arena, const struct identity_hello *hello);
enum err identity_hello_decode(struct bytes bytes, struct identity_hello *ret_hello) MUST_USE;

#endif
