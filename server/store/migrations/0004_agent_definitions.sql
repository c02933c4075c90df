-- What agents are to be, as their owners say. Revisions are numbers of the whole
-- deployment, each used once, so that what has changed since one is read by index.
CREATE TABLE definition_revisions (
    id   BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    last BIGINT NOT NULL
);
INSERT INTO definition_revisions (id, last) VALUES (1, 0);

CREATE TABLE agent_definitions (
    agent_id   TEXT   NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    revision   BIGINT NOT NULL UNIQUE,
    document   BLOB   NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT   NOT NULL
);

-- One row for each secret that the document names; value is NULL until it is
-- set. Values are kept as they are, like the server's own secrets: the agent
-- needs them back.
CREATE TABLE agent_secrets (
    agent_id   TEXT   NOT NULL REFERENCES agent_definitions (agent_id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    value      BLOB,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, name)
);

CREATE TABLE announcement_banners (
    position         BIGINT NOT NULL PRIMARY KEY,
    enabled          BIGINT NOT NULL,
    message          TEXT   NOT NULL,
    background_color TEXT   NOT NULL
);
