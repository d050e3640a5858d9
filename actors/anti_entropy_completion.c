/* Vnodes of this node that were lost and are filled from the other replicas.
 *
 * A disk that was lost held the keyspaces as well, and with them which members are replicas. So a
 * majority of all members, and each replica that is asked, have told which ones they know before
 * anything begins: a keyspace that was acknowledged is among them, for its creation waits for all
 * that are up. What is created later cannot have been written here before the loss.
 *
 * The floor comes first. What was removed under a floor F had been sealed by every replica, so
 * every other complete one has a floor of at least F; the greatest that the others have is adopted,
 * which one complete replica must be among, or all of them when none is complete. Then an exchange
 * with every other member that is a replica of the partition in any keyspace: after that this vnode
 * holds all that any of them held, and votes again. But for keyspaces of which one of them could
 * not read all rows, or waits for such rows itself: "nothing" here where it says "damaged" there
 * would be wrong. Each of those is filled by itself as what a change gives is
 * (anti_entropy_gain.c), until the rows are mended there or given up. */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define ASKING_MAX 4u /* vnodes at a time: 1024 at once would be a storm */
/* Until the next look whether the keyspaces are told. */
#define UNTOLD_NS ((uint64_t)100 * 1000 * 1000)

static void roots_drop(struct ae_completion *completion)
{
    for (uint32_t i = 0; completion->roots != NULL && i < MEMBERS_MAX; i++)
        message_free(completion->roots[i]);
    free(completion->roots);
    completion->roots = NULL;
}

void ae_completion_free(struct ae_completion *completion)
{
    roots_drop(completion);
    ae_ids_free(&completion->lacks);
}

static uint64_t others(const struct anti_entropy *ae, uint32_t partition)
{
    return ae->replicas[partition] & ~ae_member_bit(ae, ae->options.self) & ~ae->gone;
}

static struct ae_completion *completion_of(struct anti_entropy *ae, uint32_t partition)
{
    return &ae->completions[partition];
}

static void close_question(struct anti_entropy *ae, struct ae_completion *completion)
{
    if (completion->id != 0)
        ae->completions_asking--;
    completion->id = 0;
    roots_drop(completion);
}

static void begin_again(struct anti_entropy *ae, struct actor_context *ctx,
                        struct ae_completion *completion)
{
    close_question(ae, completion);
    completion->phase = AE_ASK;
    completion->next_ns = ctx->now_ns + ae_backoff(ae, ctx, &completion->backoff_ns);
}

bool ae_completion_fills(const struct anti_entropy *ae, uint32_t partition)
{
    return ae->completions[partition].known && ae->completions[partition].phase != AE_GIVE;
}

void ae_completion_close(struct anti_entropy *ae, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    close_question(ae, completion);
    completion->known = false;
    counter_add(&ae->figures.incomplete, (uint64_t)-1);
}

void ae_completion_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                                 const struct vnode_incomplete *incomplete)
{
    if (incomplete->partition >= ae->options.partitions) {
        counter_add(&ae->figures.unexpected, 1);
        return;
    }
    struct ae_completion *completion = completion_of(ae, incomplete->partition);
    if (completion->known && completion->incarnation == incomplete->incarnation) {
        completion->unreadable = completion->unreadable || incomplete->unreadable;
        return;
    }
    if (completion->known)
        close_question(ae, completion);
    else
        counter_add(&ae->figures.incomplete, 1);
    ae_ids_free(&completion->lacks);
    *completion = (struct ae_completion){
        .known = true,
        .incarnation = incomplete->incarnation,
        .serial = ++ae->serial,
        .next_ns = ctx->now_ns,
    };
    if (incomplete->unreadable)
        ae_give_begin(completion, ctx);
    ae->look_ns = ctx->now_ns;
}

/* -- ASK ----------------------------------------------------------------------------------------
 */

/* Which keyspaces there are. */
static bool keyspaces_told(const struct anti_entropy *ae, const struct view *view,
                           uint32_t partition)
{
    bool told = view_keyspaces_heard(view);
    uint64_t asked = others(ae, partition);
    for (uint32_t i = 0; i < view->topology.member_count && told; i++) {
        uint64_t bit = ae_member_bit(ae, view->topology.members[i].number);
        told = !view->members[i].unheard || (asked & bit) == 0;
    }
    return told || MUTATE(FILLED_WITHOUT_KEYSPACES);
}

static void open_question(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    completion->id = ae_id(ae, AE_OWNER_COMPLETION, partition);
    completion->sent_ns = ctx->now_ns;
    completion->next_ns = ctx->now_ns + ae->options.late_ns;
    ae->completions_asking++;
}

static void ask_roots(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    open_question(ae, ctx, partition);
    completion->waiting = 0;
    completion->roots = calloc(MEMBERS_MAX, sizeof completion->roots[0]);
    CHECK(completion->roots != NULL);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        uint32_t member = ae->slots[slot];
        if ((others(ae, partition) >> slot & 1) == 0 || !ae_reachable(ctx, member))
            continue;
        struct message *message = ae_message(MESSAGE_tree_roots, member, completion->id, 0);
        message->tree_roots.partition = partition;
        message->deadline_ns = completion->next_ns;
        completion->waiting |= ae_member_bit(ae, member);
        ae_charge(ae, NULL, member, 0);
        outbox_send(ctx, &ae->actor, message);
    }
}

/* False: it cannot be read. */
static bool root_in(struct anti_entropy *ae, const struct message *roots_message,
                    uint32_t keyspace_id, struct exchange_root *ret_root)
{
    struct exchange_roots roots;
    *ret_root = (struct exchange_root){.keyspace_id = keyspace_id};
    if (exchange_roots_decode(&ae->scratch, roots_message->tree_roots_reply.roots, &roots) != OK) {
        counter_add(&ae->figures.corrupt, 1);
        return false;
    }
    for (uint32_t i = 0; i < roots.count; i++) {
        if (roots.roots[i].keyspace_id == keyspace_id)
            *ret_root = roots.roots[i];
    }
    return true;
}

struct ae_floor_found ae_find_floor(struct anti_entropy *ae, const struct actor_context *ctx,
                                    uint32_t partition, const struct keyspace *keyspace,
                                    uint64_t sources, struct message *const *answers)
{
    struct ae_floor_found found = {.all = true};
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        enum replica_role role = ROLE_NONE;
        if ((sources >> slot & 1) != 0)
            role = view_role(ctx->view, keyspace, partition, ae->slots[slot]);
        if (role == ROLE_NONE)
            continue;
        struct exchange_root root;
        if (answers[slot] == NULL || !root_in(ae, answers[slot], keyspace->id, &root)) {
            found.all = false;
            continue;
        }
        found.complete |=
            answers[slot]->tree_roots_reply.complete && !root.incomplete && role == ROLE_READER;
        found.floor = root.floor > found.floor ? root.floor : found.floor;
        found.reaped = root.reaped > found.reaped ? root.reaped : found.reaped;
    }
    return found;
}

/* Adopts what can be; false: some keyspace has to wait for more answers. */
static bool adopt_floors(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    bool all = true;
    completion->adopts = 0;
    for (uint32_t i = 0; i < ctx->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &ctx->view->keyspaces.keyspaces[i];
        if (keyspace->dropped || !ae_is_replica(ctx->view, keyspace, partition, ae->options.self))
            continue;
        struct ae_floor_found found =
            ae_find_floor(ae, ctx, partition, keyspace, others(ae, partition), completion->roots);
        if (!found.complete && !found.all) {
            all = false;
            continue;
        }
        struct message *message =
            ae_message(MESSAGE_vnode_adopt, ae->options.self, completion->id, 0);
        message->vnode_adopt = (struct vnode_adopt){.partition = partition,
                                                    .keyspace_id = keyspace->id,
                                                    .floor = found.floor,
                                                    .reaped = found.reaped};
        completion->adopts++;
        outbox_send(ctx, &ae->actor, message);
    }
    return all;
}

static void roots_gathered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    bool all = adopt_floors(ae, ctx, partition);
    if (!all && completion->adopts == 0) {
        begin_again(ae, ctx, completion);
        return;
    }
    roots_drop(completion);
    completion->phase = AE_ADOPT;
    completion->next_ns = ctx->now_ns + ae->options.late_ns;
    if (completion->adopts == 0) { /* a replica in no keyspace */
        close_question(ae, completion);
        completion->phase = AE_FILL;
        ae->look_ns = ctx->now_ns;
    }
}

/* -- FILL and FINISH ----------------------------------------------------------------------------
 */

static void finish(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    open_question(ae, ctx, partition);
    completion->phase = AE_FINISH;
    const struct ae_ids *lacks = &completion->lacks;
    struct message *message = ae_message(MESSAGE_vnode_complete, ae->options.self, completion->id,
                                         lacks->count * sizeof *lacks->ids);
    uint32_t *unfilled = ARENA_NEW(&message->arena, uint32_t, lacks->count + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < lacks->count; i++) {
        const struct keyspace *keyspace =
            keyspace_map_find_id(&ctx->view->keyspaces, lacks->ids[i]);
        if (keyspace != NULL && ae_is_replica(ctx->view, keyspace, partition, ae->options.self))
            unfilled[count++] = keyspace->id;
    }
    message->vnode_complete = (struct vnode_complete){.partition = partition,
                                                      .incarnation = completion->incarnation,
                                                      .unfilled_count = count,
                                                      .unfilled = unfilled};
    outbox_send(ctx, &ae->actor, message);
}

bool ae_completion_next(struct anti_entropy *ae, struct actor_context *ctx,
                        struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    if (counter_get(&ae->figures.incomplete) == 0)
        return false;
    for (uint32_t partition = 0; partition < ae->options.partitions; partition++) {
        struct ae_completion *completion = completion_of(ae, partition);
        bool gives = completion->phase == AE_GIVE;
        if (!completion->known || (completion->phase != AE_FILL && !gives))
            continue;
        uint64_t left = others(ae, partition) & ~(gives ? completion->waiting : completion->done);
        for (uint32_t slot = 0; left != 0 && slot < MEMBERS_MAX; slot++) {
            uint32_t member = ae->slots[slot];
            if ((left >> slot & 1) == 0 ||
                !ae_schedule_can(ae, ctx, partition, ae->options.self, member, look_ns))
                continue;
            *ret_plan = (struct ae_exchange_plan){.partition = partition,
                                                  .members = {ae->options.self, member},
                                                  .reason = AE_COMPLETION};
            return true;
        }
    }
    return false;
}

void ae_completion_ended(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct ae_exchange *exchange, bool whole)
{
    struct ae_completion *completion = completion_of(ae, exchange->partition);
    uint32_t self_side = exchange->members[0] == ae->options.self ? 0 : 1;
    if (!completion->known || exchange->members[self_side] != ae->options.self ||
        exchange->only_keyspace != 0)
        return;
    if (completion->phase == AE_GIVE) {
        ae_give_ended(ae, completion, exchange);
        return;
    }
    bool taken = exchange->through && exchange->refused == 0 &&
                 (exchange->damaged[self_side] == 0 || completion->unreadable);
    bool through = whole || (taken && !exchange->waits);
    if (through && exchange->serial > completion->serial) {
        completion->done |= ae_member_bit(ae, exchange->members[1 - self_side]);
        for (uint32_t i = 0; i < exchange->lacks.count && !MUTATE(LOST_PASSES_OVER_BAD_ROWS); i++)
            ae_ids_add(&completion->lacks, exchange->lacks.ids[i]);
        completion->backoff_ns = 0;
    } else if (!through && exchange->reason == AE_COMPLETION && completion->phase == AE_FILL) {
        begin_again(ae, ctx, completion); /* a keyspace may be new, a floor higher */
    }
}

/* -- the steps ----------------------------------------------------------------------------------
 */

static void roots_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition,
                           struct message *message)
{
    struct ae_completion *completion = completion_of(ae, partition);
    uint32_t member = message->from.node;
    if ((completion->waiting & ae_member_bit(ae, member)) == 0) {
        counter_add(&ae->figures.late, 1);
        message_free(message);
        return;
    }
    ae_charge(ae, NULL, member, message->tree_roots_reply.roots.size);
    completion->waiting &= ~ae_member_bit(ae, member);
    if (message->tree_roots_reply.status == OK)
        completion->roots[ae_member_slot(ae, member)] = message;
    else
        message_free(message);
    if (completion->waiting == 0)
        roots_gathered(ae, ctx, partition);
}

static void finish_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition,
                            enum err status)
{
    struct ae_completion *completion = completion_of(ae, partition);
    if (status != OK) {
        begin_again(ae, ctx, completion);
        return;
    }
    close_question(ae, completion);
    ae->look_ns = ctx->now_ns; /* marks have waited for this */
    if (completion->unreadable)
        ae_give_begin(completion, ctx);
    else
        ae_completion_close(ae, partition);
    counter_add(&ae->figures.completed, 1);
    log_write(ctx->log, LOG_INFO, "vnode_complete", "partition=%" PRIu32, partition);
}

static void adopt_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition,
                           enum err status)
{
    struct ae_completion *completion = completion_of(ae, partition);
    if (status == ERR_PRECONDITION) { /* complete already: that it finished was told too late */
        finish_answered(ae, ctx, partition, OK);
        return;
    }
    if (status != OK) {
        begin_again(ae, ctx, completion);
        return;
    }
    CHECK_U64(completion->adopts, >, 0);
    if (--completion->adopts > 0)
        return;
    close_question(ae, completion);
    completion->phase = AE_FILL;
    ae->look_ns = ctx->now_ns;
}

void ae_completion_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                            struct message *message)
{
    struct ae_completion *completion =
        slot < ae->options.partitions ? completion_of(ae, slot) : NULL;
    bool open = completion != NULL && completion->known && completion->id == message->id &&
                completion->id != 0;
    if (open && message->kind == MESSAGE_tree_roots_reply && completion->phase == AE_ASK) {
        roots_answered(ae, ctx, slot, message);
        return;
    }
    if (open && message->kind == MESSAGE_vnode_adopt_done && completion->phase == AE_ADOPT)
        adopt_answered(ae, ctx, slot, message->vnode_adopt_done.status);
    else if (open && message->kind == MESSAGE_vnode_complete_done && completion->phase == AE_FINISH)
        finish_answered(ae, ctx, slot, message->vnode_complete_done.status);
    else
        counter_add(&ae->figures.late, 1);
    message_free(message);
}

static void completion_step(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = completion_of(ae, partition);
    bool due = completion->next_ns <= ctx->now_ns;
    bool late = completion->id != 0 && due;
    switch (completion->phase) {
    case AE_ASK:
        if (!due)
            break;
        if (late) { /* with what has come */
            roots_gathered(ae, ctx, partition);
        } else if (!keyspaces_told(ae, ctx->view, partition)) {
            completion->next_ns = ctx->now_ns + UNTOLD_NS;
        } else if (ae->completions_asking < ASKING_MAX) {
            ask_roots(ae, ctx, partition);
            if (completion->waiting == 0)
                roots_gathered(ae, ctx, partition);
        }
        break;
    case AE_ADOPT:
    case AE_FINISH:
        if (late)
            begin_again(ae, ctx, completion);
        break;
    case AE_FILL:
        if ((others(ae, partition) & ~completion->done) == 0 && ae->completions_asking < ASKING_MAX)
            finish(ae, ctx, partition);
        break;
    case AE_GIVE:
        ae_give_step(ae, ctx, partition);
        break;
    }
}

void ae_completion_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    if (counter_get(&ae->figures.incomplete) == 0 || !ae->viewed)
        return;
    for (uint32_t partition = 0; partition < ae->options.partitions; partition++) {
        if (completion_of(ae, partition)->known)
            completion_step(ae, ctx, partition);
    }
}

uint64_t ae_completion_wake_ns(const struct anti_entropy *ae)
{
    uint64_t at_ns = NEVER_NS;
    if (counter_get(&ae->figures.incomplete) == 0)
        return at_ns;
    for (uint32_t i = 0; i < ae->options.partitions; i++) {
        const struct ae_completion *completion = &ae->completions[i];
        bool full = ae->completions_asking >= ASKING_MAX && completion->id == 0;
        if (!completion->known || full)
            continue;
        if (completion->phase != AE_FILL) {
            if (completion->next_ns < at_ns)
                at_ns = completion->next_ns;
        } else if ((others(ae, i) & ~completion->done) == 0) {
            at_ns = 0;
        }
    }
    return at_ns;
}
