/* log_sink.h -- where log lines go: one line each on standard error, with the time. */
#ifndef NODE_LOG_SINK_H
#define NODE_LOG_SINK_H

#include "base/log.h"

/* time level event key=value ... ; one write(2) a line, so lines of several threads do not mix. */
struct log log_sink_stderr(enum log_level level, const char *node_name);

#endif
