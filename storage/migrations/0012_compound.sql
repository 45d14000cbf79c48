-- Rules on the states of other rules' alerts. Writing room: alerting.

CREATE TABLE deployment_state (             -- what these rules remember of a deployment; written under its hosts' locks
    tenant_id     integer NOT NULL,
    deployment_id integer NOT NULL,
    own_alerts    text[] NOT NULL,          -- rules whose alert is the deployment's: the sweep of silences leaves those
    state         bytea NOT NULL,           -- shape: alerting/compound.py
    PRIMARY KEY (tenant_id, deployment_id),
    FOREIGN KEY (tenant_id, deployment_id) REFERENCES deployment
);
