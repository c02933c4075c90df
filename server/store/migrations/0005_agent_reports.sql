-- What agents report about themselves. All of it goes with the agent.
CREATE TABLE agent_reports (
    agent_id           TEXT   NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    version            TEXT   NOT NULL,
    expanded_directory TEXT   NOT NULL,
    subsystems         TEXT   NOT NULL,
    startup_at         BIGINT NOT NULL,
    -- The step that the agent is at, and the run (from its start to its end)
    -- that this step is of.
    lifecycle_state    BIGINT NOT NULL,
    run                BIGINT NOT NULL,
    started_at         BIGINT NOT NULL,
    ready_at           BIGINT NOT NULL,
    -- The last number that a log line got, and what the lines of this run have.
    last_log_id        BIGINT NOT NULL,
    logs_length        BIGINT NOT NULL,
    logs_lines         BIGINT NOT NULL,
    logs_overflowed    BIGINT NOT NULL
);

CREATE TABLE agent_lifecycle (
    agent_id   TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    run        BIGINT NOT NULL,
    state      BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, number)
);

-- created_at is in microseconds: lines of one millisecond are many.
CREATE TABLE agent_logs (
    agent_id   TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    id         BIGINT NOT NULL,
    run        BIGINT NOT NULL,
    source_id  TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    level      BIGINT NOT NULL,
    output     TEXT   NOT NULL,
    PRIMARY KEY (agent_id, id)
);
CREATE INDEX agent_logs_by_source ON agent_logs (agent_id, source_id, id);

CREATE TABLE agent_timings (
    agent_id   TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    script_id  TEXT   NOT NULL,
    stage      BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    exit_code  BIGINT NOT NULL,
    status     BIGINT NOT NULL,
    PRIMARY KEY (agent_id, script_id, stage, started_at)
);

-- An end without a beginning has connected_at 0; what is still open, or was
-- never heard of again, has disconnected_at 0.
CREATE TABLE agent_connections (
    agent_id        TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    connection_id   TEXT   NOT NULL,
    type            BIGINT NOT NULL,
    ip              TEXT   NOT NULL,
    connected_at    BIGINT NOT NULL,
    disconnected_at BIGINT NOT NULL,
    status_code     BIGINT NOT NULL,
    reason          TEXT   NOT NULL,
    noted_at        BIGINT NOT NULL,
    PRIMARY KEY (agent_id, connection_id)
);
CREATE INDEX agent_connections_by_time ON agent_connections (agent_id, noted_at);

CREATE TABLE agent_stats (
    agent_id          TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    at                BIGINT NOT NULL,
    connections       BIGINT NOT NULL,
    latency_micros    BIGINT NOT NULL,
    rx_packets        BIGINT NOT NULL,
    rx_bytes          BIGINT NOT NULL,
    tx_packets        BIGINT NOT NULL,
    tx_bytes          BIGINT NOT NULL,
    sessions_vscode   BIGINT NOT NULL,
    sessions_jetbrains BIGINT NOT NULL,
    sessions_pty      BIGINT NOT NULL,
    sessions_ssh      BIGINT NOT NULL,
    PRIMARY KEY (agent_id, at)
);
CREATE INDEX agent_stats_by_time ON agent_stats (at);

-- The latest of what changes often: metadata, health of apps, statistics, use of
-- resources. Kept in memory and written now and then, as JSON.
CREATE TABLE agent_values (
    agent_id   TEXT   NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    kind       TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    value      TEXT   NOT NULL,
    PRIMARY KEY (agent_id, kind, name)
);
