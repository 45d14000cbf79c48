-- Ticketing's queries: registry, desk, people's actions, what later rooms read.

-- name: lock_registry
-- One applier at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock(7023650001);

-- name: all_products
-- Every product.
SELECT key, name, end_of_life, end_of_support, newest_version FROM product ORDER BY key;

-- name: all_people
-- Every person of ours, also those who left.
SELECT person_id, key, name, email, phone, zone, languages, roles, active FROM person ORDER BY key;

-- name: all_tenants
-- Every customer.
SELECT key, name, facts FROM tenant ORDER BY key;

-- name: all_deployments
-- Every deployment, with the contract in force.
SELECT t.key, d.key, d.name, d.licence, d.theatre, d.zone, d.country, d.facts, c.document
  FROM deployment d
  JOIN tenant t USING (tenant_id)
  LEFT JOIN contract c ON (c.tenant_id, c.deployment_id) = (d.tenant_id, d.deployment_id)
                      AND c.superseded_at IS NULL
 ORDER BY t.key, d.key;

-- name: all_contacts
-- Every customer's contact; deployments by their keys.
SELECT t.key, c.key, c.name, c.email, c.phone, c.languages, c.reachable_24h,
       ARRAY(SELECT d.key
               FROM unnest(c.deployment_ids) WITH ORDINALITY AS i (deployment_id, n)
               JOIN deployment d ON d.tenant_id = c.tenant_id AND d.deployment_id = i.deployment_id
              ORDER BY i.n)
  FROM contact c
  JOIN tenant t USING (tenant_id)
 ORDER BY t.key, c.key;

-- name: upsert_product
-- Store a product as the document says.
INSERT INTO product (key, name, end_of_life, end_of_support, newest_version)
VALUES (%(key)s, %(name)s, %(end_of_life)s, %(end_of_support)s, %(newest_version)s)
ON CONFLICT (key) DO UPDATE
   SET name = excluded.name, end_of_life = excluded.end_of_life,
       end_of_support = excluded.end_of_support, newest_version = excluded.newest_version;

-- name: upsert_person
-- Store one of our people as the document says.
INSERT INTO person (key, name, email, phone, zone, languages, roles, active)
VALUES (%(key)s, %(name)s, %(email)s, %(phone)s, %(zone)s, %(languages)s, %(roles)s, %(active)s)
ON CONFLICT (key) DO UPDATE
   SET name = excluded.name, email = excluded.email, phone = excluded.phone, zone = excluded.zone,
       languages = excluded.languages, roles = excluded.roles, active = excluded.active;

-- name: upsert_tenant
-- Store a customer as the document says.
INSERT INTO tenant (key, name, facts, created_at)
VALUES (%(key)s, %(name)s, %(facts)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET name = excluded.name, facts = excluded.facts;

-- name: upsert_deployment
-- Store a deployment as the document says.
INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, facts, created_at)
SELECT tenant_id, %(key)s, %(name)s, %(licence)s, %(theatre)s, %(zone)s, %(country)s, %(facts)s, %(now)s
  FROM tenant WHERE key = %(tenant)s
ON CONFLICT (tenant_id, key) DO UPDATE
   SET name = excluded.name, licence = excluded.licence, theatre = excluded.theatre, zone = excluded.zone,
       country = excluded.country, facts = excluded.facts;

-- name: supersede_contract
-- End the contract document in force; it stays as history.
UPDATE contract c SET superseded_at = %(now)s
  FROM deployment d JOIN tenant t USING (tenant_id)
 WHERE t.key = %(tenant)s AND d.key = %(key)s
   AND (c.tenant_id, c.deployment_id) = (d.tenant_id, d.deployment_id) AND c.superseded_at IS NULL;

-- name: insert_contract
-- Record a contract document as the one in force.
INSERT INTO contract (tenant_id, deployment_id, document, recorded_at, recorded_by)
SELECT d.tenant_id, d.deployment_id, %(document)s, %(now)s, %(actor)s
  FROM deployment d JOIN tenant t USING (tenant_id)
 WHERE t.key = %(tenant)s AND d.key = %(key)s;

-- name: upsert_contact
-- Store a customer's contact as the document says.
INSERT INTO contact (tenant_id, key, name, email, phone, languages, reachable_24h, deployment_ids)
SELECT t.tenant_id, %(key)s, %(name)s, %(email)s, %(phone)s, %(languages)s::text[], %(reachable_24h)s,
       ARRAY(SELECT d.deployment_id
               FROM unnest(%(deployments)s::text[]) WITH ORDINALITY AS i (key, n)
               JOIN deployment d ON d.tenant_id = t.tenant_id AND d.key = i.key
              ORDER BY i.n)
  FROM tenant t WHERE t.key = %(tenant)s
ON CONFLICT (tenant_id, key) DO UPDATE
   SET name = excluded.name, email = excluded.email, phone = excluded.phone, languages = excluded.languages,
       reachable_24h = excluded.reachable_24h, deployment_ids = excluded.deployment_ids;

-- name: delete_contact
-- A contact that the tenant's list no longer names.
DELETE FROM contact c USING tenant t
 WHERE t.tenant_id = c.tenant_id AND t.key = %(tenant)s AND c.key = %(key)s;

-- name: record_registry_change
-- The audit trail of the registry.
INSERT INTO registry_change (at, actor, origin, act, path, old, new)
VALUES (%(at)s, %(actor)s, %(origin)s, %(act)s, %(path)s, %(old)s, %(new)s);

-- name: reconsider_alerts
-- Alerts that fire without a ticket are decided again (tenants: keys; NULL = all).
UPDATE desk_progress p SET reconsider = true
 WHERE p.firing
   AND (%(tenants)s::text[] IS NULL
        OR p.tenant_id IN (SELECT tenant_id FROM tenant WHERE key = ANY (%(tenants)s::text[])))
   AND NOT EXISTS (SELECT FROM ticket_alert a WHERE (a.tenant_id, a.alert_id) = (p.tenant_id, p.alert_id));

