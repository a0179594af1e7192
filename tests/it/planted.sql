-- Plants what a statement could call by mistake, in every schema that it could be looked for in. The test
-- fills in which functions, operators and types the statements use. Whatever is called counts, and fails.

-- This script itself is to call nothing that it plants.
SET search_path = pg_catalog;

CREATE SCHEMA evil;
CREATE SCHEMA trap;
CREATE SEQUENCE trap.calls;
GRANT USAGE ON SCHEMA evil, trap, proxy, public TO PUBLIC;
GRANT USAGE ON SEQUENCE trap.calls TO PUBLIC;

CREATE FUNCTION trap.spring() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.nextval('trap.calls');
    RAISE EXCEPTION 'something planted was called';
END $$;

-- Views in the place of LiteLLM's tables and of the system catalog's relations.
DO $$
DECLARE
    relation record;
BEGIN
    FOR relation IN
        SELECT n.nspname, c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        -- A view has no column of a type that stands for any other.
        JOIN pg_attribute AS a
             ON a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid <> 'anyarray'::regtype
        WHERE n.nspname = 'proxy' AND c.relkind = 'r'
           OR n.nspname = 'pg_catalog' AND c.relname = ANY ({relations}::text[])
        GROUP BY 1, 2
    LOOP
        EXECUTE format('CREATE VIEW evil.%I AS SELECT %s FROM %I.%I WHERE trap.spring()',
            relation.relname, relation.columns, relation.nspname, relation.relname);
    END LOOP;
END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;

-- Of the operators, one function for each pair of types.
DO $$
DECLARE
    types text[] := '{text,name,"\"char\"",int2,int4,int8,oid,bool,jsonb,timestamptz,text[],name[],int2[]}';
    body text := 'BEGIN PERFORM trap.spring(); RETURN NULL; END';
    home text;
    called text;
    signature text;
    operand text;
    other text;
BEGIN
    SET LOCAL check_function_bodies = off;
    FOREACH operand IN ARRAY types LOOP
        FOREACH other IN ARRAY types LOOP
            EXECUTE format('CREATE FUNCTION trap.operate(%s, %s) RETURNS bool LANGUAGE plpgsql AS %L',
                operand, other, body);
        END LOOP;
    END LOOP;
    FOREACH home IN ARRAY '{evil,proxy,public}'::text[] LOOP
        FOREACH called IN ARRAY {functions}::text[] LOOP
            -- As PostgreSQL has them, where the types can be named; found first where the schema is.
            FOR signature IN
                SELECT (SELECT coalesce(string_agg(format_type(a.type, NULL), ', ' ORDER BY a.position), '')
                        FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, position))
                FROM pg_proc AS p
                WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = called
                  AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) AS a (type)
                                  JOIN pg_type AS t ON t.oid = a.type WHERE t.typtype = 'p')
            LOOP
                EXECUTE format('CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                    home, called, signature, body);
            END LOOP;
            -- Where PostgreSQL's takes any type, one that takes this very type fits better.
            FOREACH operand IN ARRAY types LOOP
                EXECUTE format('CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                    home, called, operand, body);
                FOREACH other IN ARRAY '{text,int4,jsonb,text[]}'::text[] LOOP
                    EXECUTE format('CREATE OR REPLACE FUNCTION %I.%I(%s, %s) RETURNS text LANGUAGE plpgsql AS %L',
                        home, called, operand, other, body);
                END LOOP;
            END LOOP;
        END LOOP;
        FOREACH called IN ARRAY {operators}::text[] LOOP
            FOREACH operand IN ARRAY types LOOP
                FOREACH other IN ARRAY types LOOP
                    EXECUTE format('CREATE OPERATOR %I.%s (FUNCTION = trap.operate, LEFTARG = %s, RIGHTARG = %s)',
                        home, called, operand, other);
                END LOOP;
            END LOOP;
        END LOOP;
        -- A domain's check is called by a cast to it.
        FOREACH called IN ARRAY {types}::text[] LOOP
            EXECUTE format('CREATE DOMAIN %I.%I AS pg_catalog.%I CHECK (trap.spring())', home, called, called);
        END LOOP;
        EXECUTE format('CREATE COLLATION %I."C" FROM pg_catalog."de-x-icu"', home);
    END LOOP;
END $$;

-- Whole rows, which one operator compares.
DO $$
DECLARE
    home text;
    relation regclass;
BEGIN
    FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'proxy'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('CREATE FUNCTION trap.operate(%s, %s) RETURNS bool LANGUAGE plpgsql AS %L',
            relation, relation, 'BEGIN PERFORM trap.spring(); RETURN NULL; END');
        FOREACH home IN ARRAY '{evil,proxy,public}'::text[] LOOP
            EXECUTE format('CREATE OPERATOR %I.*= (FUNCTION = trap.operate, LEFTARG = %s, RIGHTARG = %s)',
                home, relation, relation);
            EXECUTE format('CREATE FUNCTION %I.to_jsonb(%s) RETURNS jsonb LANGUAGE plpgsql AS %L',
                home, relation, 'BEGIN PERFORM trap.spring(); RETURN NULL; END');
        END LOOP;
    END LOOP;
END $$;

-- A type that every other turns into by itself, and functions that take it.
CREATE TYPE evil.lure AS (bait text);
DO $$
DECLARE
    operand text;
    called text;
BEGIN
    FOREACH operand IN ARRAY '{text,name,jsonb,text[],int4,int8,oid}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION trap.lure(%s) RETURNS evil.lure LANGUAGE plpgsql AS %L',
            operand, 'BEGIN PERFORM trap.spring(); RETURN NULL; END');
        EXECUTE format('CREATE CAST (%s AS evil.lure) WITH FUNCTION trap.lure(%s) AS IMPLICIT', operand, operand);
    END LOOP;
    FOREACH called IN ARRAY {functions}::text[] LOOP
        EXECUTE format('CREATE FUNCTION public.%I(evil.lure) RETURNS text LANGUAGE plpgsql AS %L',
            called, 'BEGIN PERFORM trap.spring(); RETURN NULL; END');
    END LOOP;
END $$;

-- In the end, as from here on nothing else may be looked for.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = evil, pg_catalog, public', current_database());
    EXECUTE format('ALTER ROLE {role} IN DATABASE %I SET search_path = evil, pg_catalog, public', current_database());
    EXECUTE format('ALTER ROLE postgres IN DATABASE %I SET search_path = evil, pg_catalog, public', current_database());
END $$;

RESET search_path;
