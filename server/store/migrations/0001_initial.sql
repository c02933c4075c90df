-- Times are Unix milliseconds in UTC; 0 stands for "never". Identifiers are
-- UUIDs in text form. The *_key columns hold names in lower case, which makes
-- them unique without regard to case in every SQL dialect.
CREATE TABLE users (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    name_key   TEXT   NOT NULL UNIQUE,
    email      TEXT   NOT NULL,
    is_admin   BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE workspaces (
    id         TEXT   NOT NULL PRIMARY KEY,
    owner_id   TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    name_key   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (owner_id, name_key)
);

CREATE TABLE agents (
    id                 TEXT   NOT NULL PRIMARY KEY,
    workspace_id       TEXT   NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name               TEXT   NOT NULL,
    name_key           TEXT   NOT NULL,
    created_at         BIGINT NOT NULL,
    first_connected_at BIGINT NOT NULL,
    UNIQUE (workspace_id, name_key)
);

CREATE TABLE tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   REFERENCES users (id) ON DELETE CASCADE,
    agent_id   TEXT   REFERENCES agents (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    hash       BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    CHECK ((user_id IS NULL) <> (agent_id IS NULL))
);
CREATE INDEX tokens_by_user ON tokens (user_id);
CREATE INDEX tokens_by_agent ON tokens (agent_id);

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE server_secrets (
    name       TEXT   NOT NULL PRIMARY KEY,
    value      BLOB   NOT NULL,
    created_at BIGINT NOT NULL
);
