/* For whom and for what a change waits, and copies that do not vote: what the members say of
 * themselves (model/wait.h) put together with what the topology asks of them, one sentence a cause.
 *
 * Causes that follow from another one are left out: who cannot be reached holds up its partitions
 * as a member, so that it is a source of copies as well says nothing new. */
#include "base/check.h"
#include "model/topology_change.h"
#include "rpc/change.h"

#include <inttypes.h>

typedef Coterie__V1__Wait wait_words;
typedef Coterie__V1__Wait__Cause wait_cause_words;
#define CAUSE(name) COTERIE__V1__WAIT__CAUSE__CAUSE_##name

#define LINES_MAX 256u

struct teller {
    struct arena *arena;
    const struct view *view;
    const struct reports *reports;
    Coterie__V1__GetChangeResponse *response;
};

static const char *name_of(const struct teller *teller, uint32_t number)
{
    const struct member *member = topology_member(&teller->view->topology, number);
    return member == NULL ? arena_printf(teller->arena, "#%" PRIu32, number) : member->name;
}

/* "n1, n2 and n3" */
static const char *names_text(const struct teller *teller, const wait_words *line)
{
    const char *text = line->n_waits_for == 0 ? "nobody" : line->waits_for[0];
    for (size_t i = 1; i < line->n_waits_for; i++)
        text = arena_printf(teller->arena, "%s%s%s", text,
                            i + 1 == line->n_waits_for ? " and " : ", ", line->waits_for[i]);
    return text;
}

/* "partition 17 waits", "12 partitions (the first: 3) wait" */
static const char *partitions_text(const struct teller *teller, const wait_words *line,
                                   const char *verb, const char *verb_plural)
{
    if (line->partitions == 1)
        return arena_printf(teller->arena, "partition %" PRIu32 " %s", line->first_partition, verb);
    return arena_printf(teller->arena, "%" PRIu32 " partitions (the first: %" PRIu32 ") %s",
                        line->partitions, line->first_partition, verb_plural);
}

/* -- lines -------------------------------------------------------------------------------------
 */

/* One that joins others of its cause, node and keyspace names one member more. */
static wait_words *line_of(const struct teller *teller, wait_cause_words cause, const char *node,
                           const struct wait *wait, bool join)
{
    Coterie__V1__GetChangeResponse *response = teller->response;
    const struct keyspace *keyspace =
        wait->keyspace_id == 0 ? NULL
                               : keyspace_map_find_id(&teller->view->keyspaces, wait->keyspace_id);
    const char *name = keyspace == NULL ? "" : keyspace->name;
    wait_words *line = NULL;
    for (size_t i = 0; join && line == NULL && i < response->n_waits; i++) {
        wait_words *other = response->waits[i];
        if (other->cause == cause && strcmp(other->node, node) == 0 &&
            strcmp(other->keyspace, name) == 0)
            line = other;
    }
    if (line == NULL) {
        if (response->n_waits == LINES_MAX)
            return NULL;
        line = arena_alloc(teller->arena, sizeof *line);
        coterie__v1__wait__init(line);
        line->cause = cause;
        line->node = text_of(node);
        line->keyspace = text_of(name);
        line->first_partition = wait->partition;
        line->waits_for = ARENA_NEW(teller->arena, char *, MEMBERS_MAX);
        response->waits[response->n_waits++] = line;
    }
    /* Several members hold up the same partitions, as a rule. */
    line->partitions = wait->count > line->partitions ? wait->count : line->partitions;
    if (wait->partition < line->first_partition)
        line->first_partition = wait->partition;
    if (wait->since_ms != 0 && (line->since_ms == 0 || wait->since_ms < line->since_ms))
        line->since_ms = wait->since_ms;
    if (wait->member != MEMBER_NONE && line->n_waits_for < MEMBERS_MAX)
        line->waits_for[line->n_waits_for++] = text_of(name_of(teller, wait->member));
    return line;
}

#define TELL(teller, line, ...) (line)->text = arena_printf((teller)->arena, __VA_ARGS__)

/* -- what the topology asks --------------------------------------------------------------------
 */

static struct topology_progress *progress_of(const struct teller *teller)
{
    const struct topology *topology = &teller->view->topology;
    struct topology_progress *progress = ARENA_NEW(teller->arena, struct topology_progress, 1);
    *progress = (struct topology_progress){.announced_max = 1};
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct vnode_report_reply *report = reports_of(teller->reports, member->number);
        if (member->status == MEMBER_REMOVED)
            continue;
        /* As long as it has not said otherwise: */
        progress->keeps_hints[member->slot] = true;
        memset(progress->unsound[member->slot], 0xff, sizeof progress->unsound[0]);
        if (report == NULL)
            continue;
        progress->epochs[member->slot] = report->epoch;
        if (report->change != topology_change_name(topology) ||
            report->filled.size > sizeof progress->filled[0])
            continue;
        progress->keeps_hints[member->slot] = report->hints != 0;
        for (uint32_t p = 0; p < report->filled.size * 8 && p < topology->partitions; p++) {
            if (report->epoch < topology->phase_epochs[p])
                continue;
            uint8_t filled = (uint8_t)(report->filled.data[p / 8] & (1u << p % 8));
            progress->filled[member->slot][p / 8] |= filled;
            progress->unsound[member->slot][p / 8] &= (uint8_t)~filled;
        }
    }
    return progress;
}

static void epoch_line(const struct teller *teller, const struct wait *wait)
{
    const struct vnode_report_reply *report = reports_of(teller->reports, wait->member);
    wait_words *line =
        line_of(teller, report == NULL ? CAUSE(UNREACHABLE) : CAUSE(EPOCH), "", wait, false);
    if (line == NULL)
        return;
    const char *who = name_of(teller, wait->member);
    const char *what = partitions_text(teller, line, "waits", "wait");
    if (report == NULL)
        TELL(teller, line,
             "%s for %s, which does not answer: start it, or see that the others reach it; if it "
             "will never be back: coterie replace %s",
             what, who, who);
    else
        TELL(teller, line,
             "%s for %s, which has not taken the last step yet (epoch %" PRIu64
             " is in force there, %" PRIu64 " here)",
             what, who, report->epoch, teller->view->topology.epoch);
}

/* Of the partitions that a member fills, those that it does not say more about. */
static void fill_line(const struct teller *teller, const struct wait *wait, const struct waits *own)
{
    const struct vnode_report_reply *report = reports_of(teller->reports, wait->member);
    const char *who = name_of(teller, wait->member);
    uint32_t held_up = 0;
    for (uint32_t i = 0; i < own->count; i++) {
        const struct wait *other = &own->list[i];
        if (other->cause >= WAIT_SOURCE && other->cause <= WAIT_DECISION && other->count > held_up)
            held_up = other->count;
    }
    struct wait rest = *wait;
    if (report != NULL && report->free_bytes == 0) {
        wait_words *line = line_of(teller, CAUSE(DISK_FULL), "", wait, false);
        if (line != NULL)
            TELL(teller, line,
                 "%s for %s, whose disk is full: make room there, or take this back (coterie "
                 "abort)",
                 partitions_text(teller, line, "waits", "wait"), who);
        return;
    }
    if (held_up >= wait->count)
        return;
    rest.count -= held_up;
    rest.member = MEMBER_NONE;
    wait_words *line = line_of(teller, CAUSE(COPYING), who, &rest, false);
    if (line != NULL)
        TELL(teller, line, "%s copied to %s",
             partitions_text(teller, line, "is being", "are being"), who);
}

static void sound_line(const struct teller *teller, const struct wait *wait)
{
    const char *who = name_of(teller, wait->member);
    wait_words *line = line_of(teller, CAUSE(BAD_ROWS), "", wait, false);
    if (line != NULL)
        TELL(teller, line,
             "%s for %s, which mends bad rows before an older copy goes: its log has them "
             "(row_quarantined)",
             partitions_text(teller, line, "waits", "wait"), who);
}

/* Its hints, by target, are in its own report. */
static void hands_on_line(const struct teller *teller, const struct wait *wait,
                          const struct waits *own)
{
    const char *who = name_of(teller, wait->member);
    bool answers = reports_of(teller->reports, wait->member) != NULL;
    struct wait bare = {.count = 0, .member = answers ? MEMBER_NONE : wait->member};
    wait_words *line = line_of(teller, answers ? CAUSE(HINTS) : CAUSE(UNREACHABLE),
                               answers ? who : "", &bare, false);
    if (line == NULL)
        return;
    const char *list = NULL;
    for (uint32_t i = 0; i < own->count; i++) {
        const struct wait *hints = &own->list[i];
        if (hints->cause != WAIT_HINTS)
            continue;
        list = arena_printf(
            teller->arena, "%s%s%" PRIu32 " for %s%s", list == NULL ? "" : list,
            list == NULL ? "" : ", ", hints->count, name_of(teller, hints->member),
            reports_of(teller->reports, hints->member) == NULL ? " (does not answer)" : "");
        if (line->n_waits_for < MEMBERS_MAX)
            line->waits_for[line->n_waits_for++] = text_of(name_of(teller, hints->member));
    }
    if (!answers)
        TELL(teller, line,
             "%s leaves and does not answer, so the hints that it may keep are not delivered: "
             "start it; if it will never be back: coterie replace %s",
             who, who);
    else
        TELL(teller, line, "%s leaves when its hints are delivered: %s", who,
             list == NULL ? "they are under way" : list);
}

static void own_waits(const struct teller *teller, uint32_t member, struct waits *ret_waits)
{
    const struct vnode_report_reply *report = reports_of(teller->reports, member);
    *ret_waits = (struct waits){0};
    if (report != NULL && report->waits.size != 0 &&
        waits_decode(teller->arena, report->waits, ret_waits) != OK)
        *ret_waits = (struct waits){0};
}

static void change_lines(const struct teller *teller)
{
    struct waits *waits = ARENA_NEW(teller->arena, struct waits, 1);
    struct waits *own = ARENA_NEW(teller->arena, struct waits, 1);
    *waits = (struct waits){0};
    topology_waits(teller->arena, &teller->view->topology, &teller->view->keyspaces,
                   progress_of(teller), waits);
    for (uint32_t i = 0; i < waits->count; i++) {
        const struct wait *wait = &waits->list[i];
        wait_words *line = NULL;
        own_waits(teller, wait->member, own);
        if (wait->cause == WAIT_EPOCH)
            epoch_line(teller, wait);
        else if (wait->cause == WAIT_FILL)
            fill_line(teller, wait, own);
        else if (wait->cause == WAIT_HANDS_ON)
            hands_on_line(teller, wait, own);
        else if (wait->cause == WAIT_SOUND)
            sound_line(teller, wait);
        else if (wait->cause == WAIT_RESUME)
            line = line_of(teller, CAUSE(PAUSED), "", wait, false);
        else if (wait->cause == WAIT_TURN)
            line = line_of(teller, CAUSE(TURN), "", wait, false);
        if (line != NULL)
            TELL(teller, line, "%s",
                 line->cause == CAUSE(PAUSED)
                     ? arena_printf(teller->arena, "%s: the change is paused (coterie resume)",
                                    partitions_text(teller, line, "waits", "wait"))
                     : partitions_text(teller, line, "waits for its turn", "wait for their turn"));
    }
}

/* A step needs a majority of them, and that all know the same keyspaces. */
static void cluster_lines(const struct teller *teller)
{
    const struct topology *topology = &teller->view->topology;
    struct wait wait = {0};
    uint32_t away = 0;
    wait_words *line = NULL;
    for (uint32_t i = 0; i < topology->voter_count; i++)
        away += reports_of(teller->reports, topology->voters[i]) == NULL;
    for (uint32_t i = 0; 2 * away >= topology->voter_count && i < topology->voter_count; i++) {
        wait.member = topology->voters[i];
        if (reports_of(teller->reports, wait.member) == NULL)
            line = line_of(teller, CAUSE(TOPOLOGY_VOTERS), "", &wait, true);
    }
    if (line != NULL)
        TELL(teller, line,
             "no step can be decided: of the %" PRIu32 " voters of the topology %s %s not answer",
             topology->voter_count, names_text(teller, line),
             line->n_waits_for == 1 ? "does" : "do");
    uint64_t digest = keyspace_map_digest(&teller->view->keyspaces);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        wait.member = topology->members[i].number;
        const struct vnode_report_reply *report = reports_of(teller->reports, wait.member);
        if (report == NULL || topology->members[i].gone ||
            report->change != topology_change_name(topology) || report->keyspaces_digest == digest)
            continue;
        line = line_of(teller, CAUSE(KEYSPACES), "", &wait, true);
        if (line != NULL)
            TELL(teller, line,
                 "nothing goes on before all know the same keyspaces: %s and %s differ (they "
                 "agree within seconds where they reach each other)",
                 names_text(teller, line), name_of(teller, teller->view->self));
    }
}

/* -- what members say of their copies ----------------------------------------------------------
 */

static void copy_line(const struct teller *teller, const char *who, const struct wait *wait)
{
    bool away = wait->member != MEMBER_NONE && reports_of(teller->reports, wait->member) == NULL;
    wait_words *line = NULL;
    if (wait->cause == WAIT_MAJORITY || wait->cause == WAIT_DECISION)
        line = line_of(teller, wait->cause == WAIT_MAJORITY ? CAUSE(NO_MAJORITY) : CAUSE(UNDECIDED),
                       who, wait, true);
    else if (!away)
        line = line_of(teller,
                       wait->cause == WAIT_SOURCE ? CAUSE(LINK)
                       : wait->cause == WAIT_COPY ? CAUSE(COPY_INCOMPLETE)
                                                  : CAUSE(COMPARISON),
                       who, wait, false);
    if (line == NULL)
        return;
    const char *what = partitions_text(teller, line, "waits", "wait");
    const char *names = names_text(teller, line);
    if (wait->cause == WAIT_MAJORITY)
        TELL(teller, line,
             "keyspace %s: %s for a majority of the replicas that vote in their registers: %s "
             "does not hear %s",
             line->keyspace, what, who, names);
    else if (wait->cause == WAIT_DECISION)
        TELL(teller, line,
             "keyspace %s: %s for registers that %s cannot have decided: a majority of the "
             "replicas that vote is needed on both sides%s%s",
             line->keyspace, what, who, line->n_waits_for == 0 ? "" : "; it does not reach ",
             line->n_waits_for == 0 ? "" : names);
    else if (wait->cause == WAIT_SOURCE)
        TELL(teller, line,
             "%s for a copy from %s, which %s does not reach: see that its peer port can be "
             "reached from there",
             what, names, who);
    else if (wait->cause == WAIT_COPY)
        TELL(teller, line,
             "%s for a copy from %s to %s: its own was lost, and is being filled first", what,
             names, who);
    else if (wait->why != NULL && strcmp(wait->why, WAIT_WHY_BAD_ROWS) == 0)
        TELL(teller, line,
             "keyspace %s: %s for %s to mend bad rows (row_quarantined, vnode_unreadable in its "
             "log) "
             "that %s is to copy: what no replica can mend is lost if you give it up (coterie "
             "repair "
             "--give-up-bad-rows --keyspace %s)",
             line->keyspace, what, names, who, line->keyspace);
    else
        TELL(teller, line,
             "%s for a copy from %s to %s, which did not go through (%s): it is tried again, and "
             "the log of %s says more (exchange_ended)",
             what, names, who, wait->why == NULL ? "rows are left" : wait->why, who);
}

static void unreadable_line(const struct teller *teller, const char *who, const struct wait *wait)
{
    wait_words *line = line_of(teller, CAUSE(UNREADABLE), who, wait, true);
    if (line == NULL)
        return;
    const char *what =
        partitions_text(teller, line, "cannot be read in part", "cannot be read in part");
    if (line->n_waits_for == 0)
        TELL(teller, line,
             "keyspace %s: at %s %s (vnode_unreadable in its log), and no other replica has it: "
             "what "
             "can be read is served; give it to another node (coterie replace), or have more "
             "replicas",
             line->keyspace, who, what);
    else
        TELL(teller, line,
             "keyspace %s: at %s %s (vnode_unreadable in its log): it is emptied and filled again "
             "when the other copies hold the rest, and %s %s not; what no replica can read "
             "is lost if you give it up (coterie repair --give-up-bad-rows --keyspace %s)",
             line->keyspace, who, what, names_text(teller, line),
             line->n_waits_for == 1 ? "does" : "do", line->keyspace);
}

static void vote_line(const struct teller *teller, const char *who, const struct wait *wait)
{
    static const struct {
        enum wait_cause cause;
        wait_cause_words words;
        const char *text;
    } causes[] = {
        {WAIT_VOTES_CHANGE, CAUSE(VOTES_CHANGE), "they begin anew when the change is over"},
        {WAIT_VOTES_EPOCH, CAUSE(VOTES_EPOCH),
         "they begin anew when the voters of the topology have decided an epoch"},
        {WAIT_VOTES_OTHER, CAUSE(VOTES_REPLICAS),
         "all other replicas are needed, and it does not "
         "hear "},
        {WAIT_VOTES_EMPTIED, CAUSE(VOTES_EMPTIED),
         "where that leaves no majority they never will; "
         "emptied too: "},
        {WAIT_VOTES_SETTLE, CAUSE(VOTES_SETTLING),
         "what the others hold is being settled, then they vote again"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(causes); i++) {
        if (causes[i].cause != wait->cause)
            continue;
        wait_words *line = line_of(teller, causes[i].words, who, wait, true);
        if (line == NULL)
            return;
        TELL(teller, line, "%s: of keyspace %s %s emptied and %s not vote in registers: %s%s", who,
             line->keyspace, partitions_text(teller, line, "was", "were"),
             line->partitions == 1 ? "does" : "do", causes[i].text,
             line->n_waits_for == 0 ? "" : names_text(teller, line));
    }
}

static void member_lines(const struct teller *teller, uint32_t member)
{
    const char *who = name_of(teller, member);
    struct waits *own = ARENA_NEW(teller->arena, struct waits, 1);
    own_waits(teller, member, own);
    for (uint32_t i = 0; i < own->count; i++) {
        const struct wait *wait = &own->list[i];
        if (wait->cause >= WAIT_SOURCE && wait->cause <= WAIT_DECISION)
            copy_line(teller, who, wait);
        else if (wait->cause >= WAIT_VOTES_CHANGE && wait->cause <= WAIT_VOTES_SETTLE)
            vote_line(teller, who, wait);
        else if (wait->cause == WAIT_UNREADABLE)
            unreadable_line(teller, who, wait);
    }
}

void waits_fill(struct arena *arena, const struct view *view, const struct reports *reports,
                Coterie__V1__GetChangeResponse *response)
{
    struct teller teller = {.arena = arena, .view = view, .reports = reports, .response = response};
    response->waits = ARENA_NEW(arena, wait_words *, LINES_MAX);
    if (view->topology.change.state == CHANGE_RUNNING) {
        change_lines(&teller);
        cluster_lines(&teller);
    }
    for (uint32_t i = 0; i < reports->count; i++)
        member_lines(&teller, reports->list[i].member);
}

void waits_of_vote(struct arena *arena, const struct view *view, const char *node,
                   const struct waits *waits, Coterie__V1__Wait ***ret_list, size_t *ret_count)
{
    struct reports nobody = {0};
    Coterie__V1__GetChangeResponse lines = COTERIE__V1__GET_CHANGE_RESPONSE__INIT;
    struct teller teller = {.arena = arena, .view = view, .reports = &nobody, .response = &lines};
    lines.waits = ARENA_NEW(arena, wait_words *, LINES_MAX);
    for (uint32_t i = 0; i < waits->count; i++) {
        if (waits->list[i].cause >= WAIT_VOTES_CHANGE && waits->list[i].cause <= WAIT_VOTES_SETTLE)
            vote_line(&teller, node, &waits->list[i]);
    }
    *ret_list = lines.waits;
    *ret_count = lines.n_waits;
}
