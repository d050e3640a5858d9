#include "node/join.h"

#include "base/codec.h"
#include "coterie/v1/cluster.pb-c.h"
#include "model/hash.h"
#include "rpc/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_NAME      "joined"
#define FILE_MAGIC     "coterie-joined-1\n"
#define FILE_BYTES_MAX (4u << 20)
#define CHECKSUM_SEED  0x6a6f696eu
#define CALL_MS        15000u
#define PAUSE_MS_MIN   500u
#define PAUSE_MS_MAX   10000u

/* -- the file ---------------------------------------------------------------------------------- */

static void path_of(const char *directory, const char *name, char *ret_path, size_t size)
{
    CHECK((size_t)snprintf(ret_path, size, "%s/%s", directory, name) < size);
}

bool join_has_store(const char *directory)
{
    char path[4200];
    path_of(directory, "CURRENT", path, sizeof path);
    return access(path, F_OK) == 0;
}

static enum err record_decode(struct arena *arena, struct bytes bytes,
                              struct join_record *ret_record)
{
    struct join_record record = {.known = true};
    struct reader reader = reader_of(bytes);
    struct bytes magic = reader_bytes(&reader, sizeof FILE_MAGIC - 1);
    struct bytes id = reader_bytes(&reader, sizeof record.join_id);
    record.number = reader_u32(&reader);
    struct bytes document = reader_sized_bytes(&reader, FILE_BYTES_MAX);
    uint64_t checksum = reader_u64(&reader);
    if (!reader_done(&reader) || !bytes_equal(magic, bytes_of_string(FILE_MAGIC)) ||
        checksum != hash_bytes(bytes_of(bytes.data, bytes.size - sizeof checksum), CHECKSUM_SEED))
        return ERR_CORRUPT;
    memcpy(record.join_id, id.data, sizeof record.join_id);
    record.answered = record.number != MEMBER_NONE;
    if (record.answered && (topology_decode(arena, document, &record.topology) != OK ||
                            topology_member(&record.topology, record.number) == NULL))
        return ERR_CORRUPT;
    *ret_record = record;
    return OK;
}

enum err join_read(struct arena *arena, const char *directory, struct join_record *ret_record,
                   char *why, size_t why_size)
{
    char path[4200];
    path_of(directory, FILE_NAME, path, sizeof path);
    FILE *file = fopen(path, "re");
    *ret_record = (struct join_record){0};
    if (file == NULL && (errno == ENOENT || errno == ENOTDIR))
        return OK;
    if (file == NULL) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    uint8_t *data = arena_alloc(arena, FILE_BYTES_MAX);
    size_t size = fread(data, 1, FILE_BYTES_MAX, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    enum err err = failed ? ERR_IO : record_decode(arena, bytes_of(data, size), ret_record);
    if (err == ERR_CORRUPT)
        snprintf(why, why_size,
                 "%s cannot be read, it is damaged: if this node has never started, remove it",
                 path);
    else if (err != OK)
        snprintf(why, why_size, "%s cannot be read", path);
    return err;
}

static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

static bool write_file(const char *path, struct bytes bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    bool done = write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size && fsync(fd) == 0;
    return close(fd) == 0 && done;
}

/* Durable when it returns OK. `document` is empty as long as nobody has answered. */
static enum err record_write(struct arena *arena, const char *directory,
                             const struct join_record *record, struct bytes document, char *why,
                             size_t why_size)
{
    char path[4200];
    char fresh[4200];
    struct writer writer;
    path_of(directory, FILE_NAME, path, sizeof path);
    path_of(directory, FILE_NAME ".new", fresh, sizeof fresh);
    writer_init(&writer, arena, 64 + document.size);
    writer_bytes(&writer, bytes_of_string(FILE_MAGIC));
    writer_bytes(&writer, bytes_of(record->join_id, sizeof record->join_id));
    writer_u32(&writer, record->number);
    writer_sized_bytes(&writer, document);
    writer_u64(&writer, hash_bytes(writer_result(&writer), CHECKSUM_SEED));
    if ((mkdir(directory, 0750) == 0 || errno == EEXIST) &&
        write_file(fresh, writer_result(&writer)) && rename(fresh, path) == 0 &&
        sync_directory(directory))
        return OK;
    snprintf(why, why_size, "%s cannot be written: %s", path, strerror(errno));
    return ERR_IO;
}

/* -- asking ------------------------------------------------------------------------------------ */

const char *join_advertised_address(const struct config *config)
{
    const char *address = config->text[CONFIG_advertise_address];
    return address[0] != '\0' ? address : config->text[CONFIG_peer_address];
}

static bool address_is_wildcard(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0 ||
           address[0] == ':';
}

bool join_says_address(const struct config *config, bool joined)
{
    return config->text[CONFIG_advertise_address][0] != '\0' ||
           (joined && config->origin[CONFIG_peer_address] != CONFIG_DEFAULT &&
            !address_is_wildcard(config->text[CONFIG_peer_address]));
}

/* An address that nobody else can use, said before anybody is asked. */
static enum err check_settings(const struct config *config, char *why, size_t why_size)
{
    const char *address = join_advertised_address(config);
    if (address_is_wildcard(address)) {
        snprintf(why, why_size,
                 "join: the others cannot reach this node at %s; give --advertise-address "
                 "HOST:PORT",
                 address);
        return ERR_INVALID;
    }
    return OK;
}

static Coterie__V1__JoinResponse *ask_once(struct arena *arena, struct rpc_client *client,
                                           const struct config *config, const uint8_t *join_id,
                                           struct rpc_client_status *ret_status)
{
    Coterie__V1__JoinRequest request = COTERIE__V1__JOIN_REQUEST__INIT;
    Coterie__V1__Place place = COTERIE__V1__PLACE__INIT;
    request.join_id.data = (uint8_t *)(uintptr_t)join_id;
    request.join_id.len = 16;
    request.name = config->text[CONFIG_name];
    request.peer_address = (char *)(uintptr_t)join_advertised_address(config);
    place.data_center = config->text[CONFIG_data_center];
    place.zone = config->text[CONFIG_zone];
    place.weight = (uint32_t)config->number[CONFIG_weight];
    request.place = &place;
    request.hold = config->number[CONFIG_join_hold] != 0;
    return (Coterie__V1__JoinResponse *)rpc_client_call(
        client, "/coterie.v1.Cluster/Join", &request.base, &coterie__v1__join_response__descriptor,
        CALL_MS, true, arena, ret_status);
}

/* What will not be otherwise by asking again. */
static enum err refusal(const struct rpc_client_status *status)
{
    if (status->code == GRPC_STATUS_INVALID_ARGUMENT || status->code == GRPC_STATUS_UNIMPLEMENTED)
        return ERR_INVALID;
    return status->code == GRPC_STATUS_ALREADY_EXISTS ? ERR_EXISTS : OK;
}

/* False: a signal to end came. */
static bool pause_ms(uint64_t ms)
{
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000) * 1000000};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    return sigtimedwait(&ends, NULL, &pause) < 0;
}

static enum err take_answer(struct arena *arena, const struct config *config,
                            const Coterie__V1__JoinResponse *response, struct join_record *record,
                            char *why, size_t why_size)
{
    struct bytes document = bytes_of(response->document.data, response->document.len);
    const struct member *self = NULL;
    if (topology_decode(arena, document, &record->topology) == OK)
        self = topology_member(&record->topology, response->number);
    if (self == NULL || strcmp(self->name, config->text[CONFIG_name]) != 0) {
        snprintf(why, why_size, "join: the answer does not name this node \"%s\"%s%s%s",
                 config->text[CONFIG_name], self == NULL ? "" : " but \"",
                 self == NULL ? "" : self->name,
                 self == NULL ? "" : "\": start it with the --name it asked for first");
        return ERR_INVALID;
    }
    record->number = response->number;
    enum err err =
        record_write(arena, config->text[CONFIG_data_dir], record, document, why, why_size);
    record->answered = err == OK;
    return err;
}

static enum err ask_until_answered(struct arena *arena, struct rpc_client *client,
                                   const struct config *config, const struct log *log,
                                   struct join_record *record, char *why, size_t why_size)
{
    for (uint64_t ms = PAUSE_MS_MIN;; ms = 2 * ms < PAUSE_MS_MAX ? 2 * ms : PAUSE_MS_MAX) {
        struct rpc_client_status status;
        const Coterie__V1__JoinResponse *response =
            ask_once(arena, client, config, record->join_id, &status);
        if (response != NULL)
            return take_answer(arena, config, response, record, why, why_size);
        enum err err = refusal(&status);
        if (err != OK) {
            snprintf(why, why_size, "join: %s refuses: %s", status.endpoint, status.message);
            return err;
        }
        log_write(log, LOG_INFO, "join_waits", "seed=%s why=\"%s\" next_ms=%" PRIu64,
                  status.endpoint, status.message, ms);
        if (!pause_ms(ms)) {
            snprintf(why, why_size, "join: ended before a seed has answered");
            return ERR_CLOSED;
        }
    }
}

enum err join_ask(struct arena *arena, const struct config *config, const struct log *log,
                  struct join_record *record, char *why, size_t why_size)
{
    const char *directory = config->text[CONFIG_data_dir];
    enum err err = check_settings(config, why, why_size);
    if (err == OK && !record->known) {
        CHECK(getrandom(record->join_id, sizeof record->join_id, 0) ==
              (ssize_t)sizeof record->join_id);
        err = record_write(arena, directory, record, bytes_of(NULL, 0), why, why_size);
    }
    if (err != OK)
        return err;
    record->known = true;
    struct rpc_client *client;
    char detail[300];
    err = rpc_client_new(config->text[CONFIG_join], &client, detail, sizeof detail);
    if (err != OK) {
        snprintf(why, why_size, "join: %s", detail);
        return err;
    }
    log_write(log, LOG_INFO, "join_asks", "seeds=%s name=%s address=%s", config->text[CONFIG_join],
              config->text[CONFIG_name], join_advertised_address(config));
    err = ask_until_answered(arena, client, config, log, record, why, why_size);
    rpc_client_free(client);
    if (err == OK)
        log_write(log, LOG_INFO, "joined", "member=%" PRIu32 " epoch=%" PRIu64, record->number,
                  record->topology.epoch);
    return err;
}
