-- The table of payments.yaml. No primary key: positions stored beside the rows make them exactly once, so that the
-- index's cost can be saved.
CREATE TABLE public.payments (
    id           bigint      NOT NULL,
    account      text        NOT NULL,
    amount_cents bigint      NOT NULL CHECK (amount_cents >= 0),
    currency     text        NOT NULL,
    merchant     text        NOT NULL,
    status       text        NOT NULL,
    created_at   timestamptz NOT NULL
);
