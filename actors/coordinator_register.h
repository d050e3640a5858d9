/* coordinator_register.h -- inside of the coordinator: requests on consistent keyspaces. Included
 * by coordinator_register*.c only. */
#ifndef ACTORS_COORDINATOR_REGISTER_H
#define ACTORS_COORDINATOR_REGISTER_H

#include "actors/coordinator_request.h"
#include "model/register_value.h"

struct register_work {
    struct register_round round;
    struct register_acceptors acceptors;
    struct register_change change;
    struct register_outcome outcome; /* of the change in the value under way */
    struct register_value value;     /* that is being accepted, or was decided; in `arena` */
    struct bytes encoded;            /* the same */
    struct arena arena;              /* of this attempt */
    struct ballot seen;              /* the greatest of all attempts */
    uint32_t conflicts;
    bool settles;           /* ends a round whatever a query would say */
    bool asked;             /* in this phase */
    bool waits;             /* until late_at_ns, to begin again */
    bool unknown;           /* an accept of the change was sent */
    uint64_t version_least; /* with `unknown`: that such an accept would have made */
};

/* Of a client_get, client_put or register_settle. */
uint32_t coordinator_register_keyspace_id(const struct request *request);
/* The phase under way to those of these acceptors (a bit each) that have not answered it. */
void coordinator_register_ask(struct coordinator *coordinator, struct actor_context *ctx,
                              const struct request *request, uint64_t places);
/* False: it is no answer to the phase under way. */
bool coordinator_register_parse(const struct message *message, const struct register_work *work,
                                struct register_answer *ret_answer, enum err *ret_status);
/* Tells the origin; the request may have no work yet. */
void coordinator_register_answer(struct coordinator *coordinator, struct actor_context *ctx,
                                 const struct request *request, enum err status, const char *why);
/* The same, and the request ends. Whether a change was made is known from the work. */
void coordinator_register_end(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, enum err status, const char *why);

#endif
