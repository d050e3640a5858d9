#include "model/hint_gate.h"

#define MS_NS           1000000ull
#define SENDER_HEARD_NS (1000 * MS_NS)
#define OVERLOADED_NS   (1000 * MS_NS)

struct hint_gate_options hint_gate_options_default(void)
{
    return (struct hint_gate_options){
        .under_way_max = 64,
        .interval_ns = 100 * MS_NS,
        .taken_max = 600,
        .taken_min = 150,
    };
}

void hint_gate_init(struct hint_gate *gate, const struct hint_gate_options *options)
{
    CHECK(options->under_way_max > 0 && options->interval_ns > 0);
    CHECK_U64(options->taken_min, <=, options->taken_max);
    *gate = (struct hint_gate){.options = *options, .level = options->under_way_max};
}

static bool load_is_high(const struct hint_load *load)
{
    return load->held > load->held_max / 8;
}

/* Ends the interval that is over; those that nothing came in count as one calm one each. */
static void interval_roll(struct hint_gate *gate, const struct hint_load *load, uint64_t now_ns)
{
    const struct hint_gate_options *options = &gate->options;
    if (now_ns < gate->interval_ends_ns)
        return;
    uint64_t calm = (now_ns - gate->interval_ends_ns) / options->interval_ns;
    uint32_t room = gate->foreground < options->taken_max - options->taken_min
                        ? options->taken_max - gate->foreground
                        : options->taken_min;
    if (gate->taken > room || (load != NULL && load_is_high(load)))
        gate->level -= (gate->level + 3) / 4;
    else
        calm++;
    uint32_t missing = options->under_way_max - gate->level;
    gate->level += calm < missing ? (uint32_t)calm : missing;
    if (gate->level == 0)
        gate->level = 1;
    gate->interval_ends_ns = now_ns + options->interval_ns;
    gate->taken = 0;
    gate->foreground = 0;
}

void hint_gate_foreground(struct hint_gate *gate, bool refused, uint64_t now_ns)
{
    interval_roll(gate, NULL, now_ns);
    gate->foreground++;
    if (refused) {
        gate->overloaded = true;
        gate->overloaded_ns = now_ns;
    }
}

/* The sender that was silent for longest makes room for a new one. */
static void sender_hear(struct hint_gate *gate, uint32_t member, uint64_t now_ns)
{
    struct hint_sender *place = gate->senders;
    for (uint32_t i = 0; i < gate->sender_count; i++) {
        struct hint_sender *sender = &gate->senders[i];
        if (sender->member == member) {
            sender->heard_ns = now_ns;
            return;
        }
        if (sender->heard_ns < place->heard_ns)
            place = sender;
    }
    if (gate->sender_count < MEMBERS_MAX)
        place = &gate->senders[gate->sender_count++];
    *place = (struct hint_sender){.member = member, .heard_ns = now_ns};
}

static uint32_t senders_now(const struct hint_gate *gate, uint64_t now_ns)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < gate->sender_count; i++)
        count += now_ns - gate->senders[i].heard_ns <= SENDER_HEARD_NS;
    return count == 0 ? 1 : count;
}

bool hint_gate_take(struct hint_gate *gate, uint32_t member, const struct hint_load *load,
                    uint64_t now_ns)
{
    interval_roll(gate, load, now_ns);
    sender_hear(gate, member, now_ns);
    if (gate->under_way >= gate->level)
        return false;
    gate->under_way++;
    gate->taken++;
    return true;
}

void hint_gate_answered(struct hint_gate *gate)
{
    CHECK(gate->under_way > 0);
    gate->under_way--;
}

uint32_t hint_gate_credit(const struct hint_gate *gate, const struct hint_load *load,
                          uint64_t now_ns)
{
    if (load->held >= load->held_max / 2)
        return 0;
    if (gate->overloaded && now_ns - gate->overloaded_ns < OVERLOADED_NS)
        return 0;
    uint32_t share = gate->level / senders_now(gate, now_ns);
    return share == 0 ? 1 : share;
}
