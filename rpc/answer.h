/* answer.h -- the messages with which the actors of this node answer a client's call (internal to
 * the client port): which call each is for. Any other kind is a programmer's error.
 */
#ifndef RPC_ANSWER_H
#define RPC_ANSWER_H

#include "actors/message.h"

/* The handle of the question (call_address). */
uint64_t answer_client(const struct message *answer);
/* In the place of an actor whose mailbox is full: OVERLOADED, nothing was done. To free. */
struct message *answer_new_refusal(enum message_kind kind, uint64_t client);

#endif
