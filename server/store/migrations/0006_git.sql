-- What git in a user's workspaces signs in with. Unlike other secrets here these
-- can be read back: agents of the user are given them.
CREATE TABLE git_ssh_keys (
    user_id     TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    private_key TEXT   NOT NULL,
    public_key  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

CREATE TABLE git_credentials (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    host       TEXT   NOT NULL,
    username   TEXT   NOT NULL,
    password   TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, host)
);
