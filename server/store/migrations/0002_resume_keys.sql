-- Keys that sign and verify resume tokens. The newest one signs. The one key
-- that there was before is kept, so that clients keep their peer ids.
CREATE TABLE resume_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    secret     BLOB   NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO resume_keys (id, secret, created_at)
    SELECT '1', value, created_at FROM server_secrets WHERE name = 'resume-signing-key';
DELETE FROM server_secrets WHERE name = 'resume-signing-key';
