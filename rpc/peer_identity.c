/* Who may be on the other end of a stream: one incarnation of each member at a time, its row
 * durable before the stream is used (model/identity.h, actors/incarnation.h). */
#include "base/check.h"
#include "rpc/peer_link.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS UINT64_C(1000000)
/* An answer of the recorded incarnation counts against a rival for so long. */
#define ANSWER_COUNTS_NS (10000 * NS_PER_MS)

static_assert(IDENTITY_SUPERSEDED_BYTES == sizeof((struct identity_hello *)0)->superseded &&
                  IDENTITY_SUPERSEDED_BYTES == sizeof((struct peer_hello *)0)->known_superseded,
              "all ids fit");

/* -- as part of a hello ------------------------------------------------------------------------ */

static void superseded_say(const struct identity_hello *identity,
                           uint8_t ret_bytes[IDENTITY_SUPERSEDED_BYTES])
{
    memset(ret_bytes, 0, IDENTITY_SUPERSEDED_BYTES);
    memcpy(ret_bytes, identity->superseded,
           identity->superseded_count * sizeof identity->superseded[0]);
}

static void superseded_read(const uint8_t bytes[IDENTITY_SUPERSEDED_BYTES],
                            struct identity_hello *identity)
{
    uint32_t count = 0;
    memcpy(identity->superseded, bytes, IDENTITY_SUPERSEDED_BYTES);
    while (count < IDENTITY_SUPERSEDED_MAX && !node_id_is_none(identity->superseded[count]))
        count++;
    identity->superseded_count = count;
}

void peer_hello_say_identity(struct peer_hello *hello, const struct identity_hello *identity,
                             uint64_t epoch_bound)
{
    memcpy(hello->node_id, identity->self.node_id.bytes, NODE_ID_BYTES);
    hello->generation = identity->self.generation;
    hello->start_nonce = identity->self.start_nonce;
    hello->epoch_bound = epoch_bound;
    superseded_say(identity, hello->superseded);
}

static struct identity_hello identity_of(const struct peer_hello *hello)
{
    struct identity_hello identity = {
        .self = {.generation = hello->generation, .start_nonce = hello->start_nonce}};
    memcpy(identity.self.node_id.bytes, hello->node_id, NODE_ID_BYTES);
    superseded_read(hello->superseded, &identity);
    return identity;
}

void peer_hello_say_answer(struct peer_hello *hello, const struct incarnation_answer *answer)
{
    hello->action = answer->action;
    hello->verdict = answer->verdict;
    memcpy(hello->known_id, answer->known.self.node_id.bytes, NODE_ID_BYTES);
    hello->known_generation = answer->known.self.generation;
    hello->known_bound = answer->epoch_bound;
    superseded_say(&answer->known, hello->known_superseded);
}

bool peer_hello_answer(const struct peer_hello *hello, struct incarnation_answer *ret_answer)
{
    if (hello->verdict >= IDENTITY_VERDICTS ||
        hello->action != (uint32_t)identity_action_of((enum identity_verdict)hello->verdict))
        return false;
    *ret_answer = (struct incarnation_answer){
        .verdict = (enum identity_verdict)hello->verdict,
        .action = (enum identity_action)hello->action,
        .known.self.generation = hello->known_generation,
        .epoch_bound = hello->known_bound,
    };
    memcpy(ret_answer->known.self.node_id.bytes, hello->known_id, NODE_ID_BYTES);
    superseded_read(hello->known_superseded, &ret_answer->known);
    return true;
}

/* -- rows, under peers->lock --------------------------------------------------------------------
 */

static enum err row_load(struct rpc_peers *peers, struct link *link)
{
    if (link->row_loaded || peers->options.meta == NULL)
        return OK;
    enum err err = incarnation_load(peers->options.meta, link->member, &link->row);
    link->row_loaded = err == OK;
    return err;
}

static enum err row_record(struct rpc_peers *peers, struct link *link,
                           const struct incarnation *row)
{
    struct store *meta = peers->options.meta;
    if (incarnation_equal(&link->row, row))
        return OK;
    if (meta != NULL) {
        enum err err = incarnation_stage(meta, link->member, row);
        if (err != OK)
            return err;
        link->row_sequence = store_staged(meta);
        store_submit(meta);
    }
    link->row = *row;
    return OK;
}

static bool row_is_durable(const struct rpc_peers *peers, const struct link *link)
{
    return peers->options.meta == NULL ||
           link->row_sequence <= store_committed(peers->options.meta);
}

void rpc_peers_committed(struct rpc_peers *peers, uint64_t sequence)
{
    pthread_mutex_lock(&peers->lock);
    struct row_wait **at = &peers->waits;
    while (*at != NULL) {
        struct row_wait *wait = *at;
        if (wait->sequence > sequence) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        /* An empty batch: the event comes to the thread that owns the stream. */
        grpc_call_error error = grpc_call_start_batch(wait->call, NULL, 0, wait->event, NULL);
        CHECK_U64(error, ==, GRPC_CALL_OK);
    }
    pthread_mutex_unlock(&peers->lock);
}

/* -- judging ------------------------------------------------------------------------------------
 */

static enum identity_liveness liveness_of(const struct link *link, uint64_t nonce, uint64_t now_ns)
{
    if (link->streams_up == 0)
        return IDENTITY_GONE;
    bool asked = link->rival_since_ns != 0 && link->rival_nonce == nonce;
    if (asked && link->answered_ns >= link->rival_since_ns &&
        now_ns < link->answered_ns + ANSWER_COUNTS_NS)
        return IDENTITY_ANSWERS;
    return IDENTITY_LINKED;
}

static void rival_note(struct link *link, uint64_t nonce, uint64_t now_ns)
{
    bool known = link->rival_since_ns != 0 && link->rival_nonce == nonce;
    if (known && link->answered_ns < link->rival_since_ns)
        return; /* still waiting for the answer */
    link->rival_nonce = nonce;
    link->rival_since_ns = now_ns;
}

/* What an operator reads, here and over there. */
static void explain(const struct rpc_peers *peers, uint32_t member,
                    const struct incarnation_answer *answer, char *why, size_t why_size)
{
    const char *what_now = "";
    if (answer->action == IDENTITY_STOP)
        what_now = " (duplicate identity): one of the two must not run";
    else if (answer->action == IDENTITY_RENEW)
        what_now = ": it goes on as a new incarnation without a vote";
    snprintf(why, why_size, "member %" PRIu32 " to member %" PRIu32 ": %s%s",
             peers->options.hello.member, member, identity_text(answer->verdict), what_now);
}

/* Under peers->lock. */
static void link_judge(struct rpc_peers *peers, struct link *link, const struct peer_hello *theirs,
                       struct admission *admission)
{
    uint64_t now_ns = runtime_now_ns();
    struct identity_hello hello = identity_of(theirs);
    enum identity_liveness liveness = liveness_of(link, theirs->start_nonce, now_ns);
    struct incarnation row;
    admission->answer = incarnation_judge(&link->row, &hello, theirs->epoch_bound, liveness, &row);
    const struct incarnation_answer *answer = &admission->answer;
    atomic_fetch_add(&peers->verdicts[answer->verdict], 1);
    if (answer->verdict == IDENTITY_PROBE)
        rival_note(link, theirs->start_nonce, now_ns);
    if (answer->action != IDENTITY_PROCEED) {
        explain(peers, link->member, answer, admission->why, sizeof admission->why);
        return;
    }
    enum err err = row_record(peers, link, &row);
    if (err != OK) {
        admission->answer =
            (struct incarnation_answer){.verdict = IDENTITY_PROBE, .action = IDENTITY_RETRY};
        snprintf(admission->why, sizeof admission->why,
                 "the row of member %" PRIu32 " cannot be written: %s", link->member,
                 err_text(err));
        return;
    }
    admission->link = link;
    link->streams_up++;
}

/* A member by the document of this node; if not, what it is. Under peers->lock. */
static bool is_listed(const struct rpc_peers *peers, uint32_t member,
                      enum identity_verdict *ret_otherwise)
{
    for (uint32_t i = 0; i < peers->listed_count; i++)
        if (peers->listed[i] == member)
            return true;
    *ret_otherwise = member < peers->number_next ? IDENTITY_REMOVED : IDENTITY_UNKNOWN;
    return false;
}

/* Whom the topology knows, with the row. Under peers->lock. */
static struct link *link_of(struct rpc_peers *peers, const struct peer_hello *mine,
                            const struct peer_hello *theirs, struct admission *admission)
{
    enum identity_verdict verdict = IDENTITY_UNKNOWN; /* also of one whose link is being made */
    struct link *link = peers_link(peers, theirs->member);
    if (is_listed(peers, theirs->member, &verdict) && link != NULL && !atomic_load(&link->closing))
        return link;
    atomic_fetch_add(&peers->verdicts[verdict], 1);
    admission->answer =
        (struct incarnation_answer){.verdict = verdict, .action = identity_action_of(verdict)};
    snprintf(admission->why, sizeof admission->why,
             verdict == IDENTITY_REMOVED
                 ? "member %u was removed from the cluster (member %u knows epoch %llu): it cannot "
                   "come back, a new one joins under a new number"
                 : "member %u is not known to member %u yet (epoch %llu)",
             theirs->member, mine->member, (unsigned long long)mine->epoch);
    return NULL;
}

/* It has a newer document than this node: gossip fetches it. */
static void epoch_note(struct rpc_peers *peers, const struct peer_hello *mine,
                       const struct peer_hello *theirs)
{
    if (theirs->epoch <= mine->epoch)
        return;
    uint32_t self = mine->member;
    struct message *message = message_new(MESSAGE_topology_behind, 0);
    message->from = (struct actor_id){self, ACTOR_RUNTIME, 0};
    message->to = (struct actor_id){self, ACTOR_GOSSIP, 0};
    message->topology_behind =
        (struct topology_behind){.member = theirs->member, .epoch = theirs->epoch};
    rpc_loop_post(peers->options.loop, message); /* refused: digests say it as well */
}

void peers_admit(struct rpc_peers *peers, const struct peer_hello *theirs, uint32_t expected,
                 struct row_wait *wait, struct admission *ret_admission)
{
    struct peer_hello mine = peers_hello(peers, expected);
    struct admission *admission = ret_admission;
    *admission = (struct admission){.answer = {.verdict = IDENTITY_SAME}};
    if (peer_hello_refusal(&mine, theirs, admission->why, sizeof admission->why) != NULL)
        return;
    pthread_mutex_lock(&peers->lock);
    struct link *link = link_of(peers, &mine, theirs, admission);
    if (link == NULL) {
        pthread_mutex_unlock(&peers->lock);
        return;
    }
    enum err err = row_load(peers, link);
    if (err == OK)
        link_judge(peers, link, theirs, admission);
    else /* an error is never "no row" */
        snprintf(admission->why, sizeof admission->why,
                 "the row of member %" PRIu32 " cannot be read: %s", theirs->member, err_text(err));
    if (admission->link != NULL) {
        link->streams_served += expected == MEMBER_NONE ? 1 : 0;
        admission->waits = !row_is_durable(peers, link);
    }
    if (admission->waits) {
        wait->sequence = link->row_sequence;
        wait->next = peers->waits;
        peers->waits = wait;
    }
    pthread_mutex_unlock(&peers->lock);
    if (admission->link != NULL)
        epoch_note(peers, &mine, theirs);
}

bool peers_recorded(struct rpc_peers *peers, const struct link *link)
{
    pthread_mutex_lock(&peers->lock);
    bool durable = row_is_durable(peers, link);
    pthread_mutex_unlock(&peers->lock);
    return durable;
}

void peers_heard(struct rpc_peers *peers, struct link *link, const struct peer_hello *theirs)
{
    struct identity_hello hello = identity_of(theirs);
    struct incarnation row;
    pthread_mutex_lock(&peers->lock);
    struct incarnation_answer answer =
        incarnation_judge(&link->row, &hello, theirs->epoch_bound, IDENTITY_LINKED, &row);
    if (answer.verdict == IDENTITY_SAME && row_record(peers, link, &row) != OK &&
        peers->options.log != NULL)
        log_write(peers->options.log, LOG_WARNING, "peer_row_unwritten",
                  "member=%" PRIu32 " what_now=\"written with its next hello\"", link->member);
    pthread_mutex_unlock(&peers->lock);
}

void peers_answered(struct rpc_peers *peers, struct link *link, const struct peer_hello *theirs,
                    uint64_t asked_ns)
{
    pthread_mutex_lock(&peers->lock);
    const struct identity *known = &link->row.hello.self;
    if (link->row.known && known->start_nonce == theirs->start_nonce &&
        memcmp(known->node_id.bytes, theirs->node_id, NODE_ID_BYTES) == 0)
        link->answered_ns = asked_ns;
    pthread_mutex_unlock(&peers->lock);
}

void peers_leave(struct rpc_peers *peers, struct link *link, bool serving)
{
    pthread_mutex_lock(&peers->lock);
    CHECK_U64(link->streams_up, >, 0);
    link->streams_up--;
    link->streams_served -= serving ? 1 : 0;
    pthread_mutex_unlock(&peers->lock);
}

void peers_accepted(struct rpc_peers *peers)
{
    pthread_mutex_lock(&peers->lock);
    peers->life_accepted = true;
    pthread_mutex_unlock(&peers->lock);
}

void peers_told(struct rpc_peers *peers, uint32_t member, const struct incarnation_answer *answer)
{
    if (answer->action == IDENTITY_PROCEED || answer->action == IDENTITY_RETRY)
        return;
    if (atomic_exchange(&peers->told, true))
        return; /* one such answer is the end of this life */
    log_write(peers->options.log, LOG_ERROR, "identity_judged", "by=%" PRIu32 " verdict=\"%s\"",
              member, identity_text(answer->verdict));
    if (peers->options.told != NULL)
        peers->options.told(peers->options.host, member, answer);
}
