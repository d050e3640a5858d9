/* boot_addresses.h -- where other members are, as the list of a start has it.
 *
 * The topology document has an address of each member. When addresses change while a node is down,
 * possibly all at once, it could reach nobody by those that it knows: so an address in
 * --initial-cluster that is another one than at the start before is news, and takes the place of
 * the document's in this node's views for as long as the document says what it said then
 * (gossip.c). Founders' lists name the members that the cluster began with, by number; to a member
 * that has joined a list is an address book: whoever in it is a member now, by name.
 *
 * Memory: all in the arena; at most MEMBERS_MAX entries. Rows are durable when these return.
 */
#ifndef ACTORS_BOOT_ADDRESSES_H
#define ACTORS_BOOT_ADDRESSES_H

#include "actors/boot.h"
#include "actors/store.h"

/* What was news at earlier starts. CORRUPT, IO. */
enum err boot_addresses_read(struct store *meta, struct arena *arena, struct boot *boot) MUST_USE;
enum err boot_addresses_write(struct store *meta, struct arena *arena,
                              const struct boot *boot) MUST_USE;
/* Of a founder: `given` is the list of this start, `before` that of the last one. What it says anew
 * takes the place of what was said before; what the document has overtaken goes. */
void boot_addresses_follow(struct boot *boot, const struct topology *before,
                           const struct topology *given);
/* Of a member that has joined: the same by name, durable. Names that are no member's are passed
 * over. CORRUPT, IO. */
enum err boot_addresses_by_name(struct store *meta, struct arena *arena,
                                const struct topology_seed *list, size_t count,
                                struct boot *boot) MUST_USE;
/* Only notes the list: the document is fresh. IO. */
enum err boot_addresses_keep(struct store *meta, struct arena *arena,
                             const struct topology_seed *list, size_t count) MUST_USE;

#endif
