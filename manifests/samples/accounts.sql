-- The table of accounts.yaml: the newest state of each account.
CREATE TABLE accounts (
    tenant text NOT NULL,
    id bigint NOT NULL,
    owner text,
    balance_cents bigint NOT NULL DEFAULT 0,
    changed_at timestamptz,
    PRIMARY KEY (tenant, id)
);
