#include "rpc/problems.h"

#define PROBLEMS_MAX (MEMBERS_MAX + DATA_CENTERS_MAX + 8)

struct finding {
    struct arena *arena;
    const struct view *view;
    const char *node_name;
    struct problems *problems;
};

static void add(struct finding *finding, char *text)
{
    CHECK_U64(finding->problems->count, <, PROBLEMS_MAX);
    finding->problems->texts[finding->problems->count++] = text;
}

static bool member_is_away(const struct view *view, const struct member *member)
{
    return member->status != MEMBER_REMOVED && member->number != view->self &&
           view_liveness(view, member->number) != LIVENESS_ALIVE;
}

/* Its members that do not answer, if that is all of them; 0 otherwise, and for our own. */
static uint32_t center_is_away(struct finding *finding, uint32_t center, const char **ret_names)
{
    const struct view *view = finding->view;
    uint32_t count = 0;
    *ret_names = "";
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        if (member->status == MEMBER_REMOVED || member_place(member)->data_center != center)
            continue;
        if (!member_is_away(view, member))
            return 0;
        *ret_names = arena_printf(finding->arena, "%s%s%s", *ret_names, count == 0 ? "" : ", ",
                                  member->name);
        count++;
    }
    return count;
}

/* A data centre of which nobody is heard is one problem, not one for each of its nodes. */
static uint32_t add_centers(struct finding *finding)
{
    const struct view *view = finding->view;
    uint32_t away = 0;
    for (uint32_t center = 0; center < view->topology.data_center_count; center++) {
        const char *names;
        uint32_t count = center_is_away(finding, center, &names);
        if (count < 2)
            continue;
        away |= 1u << center;
        add(finding,
            arena_printf(finding->arena,
                         "data centre %s is cut off or down: none of its %u nodes (%s) answers %s; "
                         "requests at LOCAL_QUORUM, LOCAL_ONE and ONE go on in each data centre, "
                         "EACH_QUORUM and ALL fail, QUORUM where a majority of all replicas is "
                         "left; what it misses is kept for it",
                         view->topology.data_centers[center], count, names, finding->node_name));
    }
    return away;
}

/* Whoever was given up and not replaced leaves a copy less of all that it held. */
static void add_given_up(struct finding *finding, const struct member *member)
{
    if (member->status == MEMBER_REMOVED || !member->gone ||
        finding->view->topology.change.state != CHANGE_STAGED)
        return;
    add(finding,
        arena_printf(finding->arena,
                     "node %s was given up, and its copies are not made anew before a commit: have "
                     "its successor join (coterie join), then coterie commit",
                     member->name));
}

static void add_members(struct finding *finding, uint32_t centers_away)
{
    const struct view *view = finding->view;
    struct problems *problems = finding->problems;
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        add_given_up(finding, member);
        if (member->status == MEMBER_REMOVED || member->gone)
            continue;
        problems->nodes_total++;
        if (!member_is_away(view, member)) {
            problems->nodes_alive++;
            continue;
        }
        if ((centers_away >> member_place(member)->data_center & 1) != 0)
            continue;
        add(finding, arena_printf(finding->arena,
                                  "node %s (%s) does not answer: check that coteried runs there "
                                  "and that its peer port can be reached from %s",
                                  member->name, member->address, finding->node_name));
    }
}

/* Nodes whose document is not ours: the topology's log has failed, or somebody put back a copy. */
static void add_split(struct finding *finding)
{
    const struct view *view = finding->view;
    const char *names = "";
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        if (view->members[i].split)
            names = arena_printf(finding->arena, "%s%s%s", names, names[0] == '\0' ? "" : ", ",
                                 view->topology.members[i].name);
    }
    if (names[0] == '\0')
        return;
    add(finding,
        arena_printf(finding->arena,
                     "two topology documents of epoch %llu are in force, one at %s, another at %s: "
                     "requests may go to the wrong replicas; begin no change, see with coterie "
                     "status at each node whose document stands alone, and start that node empty",
                     (unsigned long long)view->topology.epoch, finding->node_name, names));
}

static void add_own(struct finding *finding, const struct own_troubles *troubles)
{
    struct arena *arena = finding->arena;
    const char *name = finding->node_name;
    size_t before = finding->problems->count;
    if (troubles->disk_full)
        add(finding, arena_printf(arena,
                                  "node %s: its disk is full: it takes no writes and "
                                  "keeps what is left as a reserve; make room there, it then goes "
                                  "on by itself",
                                  name));
    if (troubles->vnodes_incomplete != 0)
        add(finding,
            arena_printf(arena,
                         "node %s: %u of %u vnodes are being refilled from the other nodes, and do "
                         "not vote until they are, or are to be: its log says why "
                         "(identity_renewed, store_log_short, vnode_unreadable), coterie changes "
                         "what holds them up",
                         name, (uint32_t)troubles->vnodes_incomplete,
                         finding->view->topology.partitions));
    if (troubles->registers_mute != 0)
        add(finding,
            arena_printf(arena,
                         "node %s: %u copies of consistent keyspaces were emptied and do not vote: "
                         "they begin anew when all other replicas are up and no change is under "
                         "way (a member that will not come back: coterie replace); where a "
                         "majority of the replicas was emptied they never do",
                         name, (uint32_t)troubles->registers_mute));
    finding->problems->own_count = finding->problems->count - before;
}

void problems_find(struct arena *arena, const struct view *view, const char *node_name,
                   const struct own_troubles *troubles, struct problems *ret_problems)
{
    struct finding finding = {
        .arena = arena, .view = view, .node_name = node_name, .problems = ret_problems};
    *ret_problems = (struct problems){.texts = ARENA_NEW(arena, char *, PROBLEMS_MAX)};
    add_members(&finding, add_centers(&finding));
    if (view->topology.change.state == CHANGE_RUNNING && view->topology.change.paused)
        add(&finding, arena_printf(arena, "a change of the topology is paused: resume it (coterie "
                                          "resume), or abort it"));
    add_split(&finding);
    add_own(&finding, troubles);
}
