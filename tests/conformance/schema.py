"""LiteLLM's tables in a schema of a PostgreSQL: by a release's migrations, and by its schema.prisma.

LiteLLM brings the two in step by itself when a proxy starts: what `schema.prisma` has and the migrations have not
is added. Where a release's migrations are not published, everything is made after `schema.prisma`.
"""

import json
import os
import re
import subprocess

TYPES = {"String": "text", "Json": "jsonb", "Boolean": "boolean", "DateTime": "timestamp(3)", "Float": "float8",
         "Int": "integer", "BigInt": "bigint", "Decimal": "numeric", "Bytes": "bytea"}


class Field:
    def __init__(self, name, type, rest):
        self.name, self.type, self.rest = name, type.rstrip("?").removesuffix("[]"), rest
        self.is_list, self.is_key = type.endswith("[]"), bool(re.search(r"@id\b", rest))
        self.is_optional, self.is_unique = type.endswith("?"), bool(re.search(r"@unique\b", rest))
        relation = re.search(r"fields: \[(\w+)\], references: \[(\w+)\]", rest)
        self.link = relation and relation.groups()
        deleted = re.search(r"onDelete: (\w+)", rest)
        self.on_delete = deleted and deleted.group(1)
        mapped = re.search(r'@map\("(\w+)"\)', rest)
        self.column = mapped.group(1) if mapped else name

    @property
    def is_column(self):
        return self.type in TYPES

    def default(self):
        """The default in SQL, or None: ids are made by Prisma's engine."""
        found = re.search(r'@default\s*\((\[.*?\]|"(?:[^"\\]|\\.)*"|-?[\w.]+|\w+\(.*\))\)', self.rest)
        text = found and found.group(1)
        if text in (None, "uuid()", "cuid()", "autoincrement()"):
            return None
        if text == "now()":
            return "CURRENT_TIMESTAMP"
        if text.startswith("dbgenerated("):
            return json.loads(text[len("dbgenerated("):-1])
        if text.startswith("["):
            return quoted("{" + text[1:-1] + "}")
        return quoted(json.loads(text)) if text.startswith('"') else quoted(text)


class Model:
    def __init__(self, name, body):
        table = re.search(r'@@map\("(\w+)"\)', body)
        self.name, self.table = name, table.group(1) if table else name
        # What a line says after // is no part of it.
        body = re.sub(r"(?m)(^|\s)//.*$", "", body)
        lines = re.findall(r"^\s+(\w+)\s+(\w+(?:\[\])?\??)(.*)$", body, re.M)
        self.fields = {name: Field(name, type, rest) for name, type, rest in lines}
        self.keys = [self.columns(names) for names in re.findall(r"@@id\(\[([^\]]*)\]", body)]
        self.uniques = [self.columns(names) for names in re.findall(r"@@unique\((?:fields: )?\[([^\]]*)\]", body)]

    def columns(self, names):
        return [self.fields[name.strip()].column for name in names.split(",")]


def models_of(prisma):
    """Every model, by name."""
    return {name: Model(name, body) for name, body in re.findall(r"^model (\w+) \{(.*?)^\}", prisma, re.S | re.M)}


def enums_of(prisma):
    found = re.findall(r"^enum (\w+) \{(.*?)^\}", prisma, re.S | re.M)
    return {name: re.findall(r"^\s+(\w+)", body, re.M) for name, body in found}


def counted(number, noun):
    """The number with its noun; nothing for none."""
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def named(*names):
    return ", ".join(f'"{name}"' for name in names)


def create(url, schema, prisma, migrations=None):
    """Makes the tables anew in `schema`, and says after what."""
    said = ["schema.prisma"]
    before = f'DROP SCHEMA IF EXISTS "{schema}" CASCADE; CREATE SCHEMA "{schema}";'
    psql(url, schema, "--command", before)
    if migrations:
        files = sorted(migrations.glob("*/migration.sql"))
        # A file at a time, and a statement at a time: an index that is made CONCURRENTLY stands in no transaction.
        psql(url, schema, *(part for file in files for part in ("--file", file)))
        said = [f"{len(files)} migrations"]
    tables, columns, statements = missing(url, schema, prisma)
    psql(url, schema, "--command", "\n".join(statements))
    if migrations and (tables or columns):
        lacking = [counted(tables, "table"), counted(columns, "column")]
        said.append(" and ".join(filter(None, lacking)) + " of schema.prisma that they lack")
    return ", and ".join(said)


def missing(url, schema, prisma):
    """How many tables and columns `schema.prisma` has and the schema has not, and the statements that make them."""
    models, enums = models_of(prisma), enums_of(prisma)
    present = set(lines(url, schema, "SELECT table_name || '.' || column_name FROM information_schema.columns "
                                     f"WHERE table_schema = {quoted(schema)}"))
    types = set(lines(url, schema, "SELECT typname FROM pg_type JOIN pg_namespace ON typnamespace = "
                                   f"pg_namespace.oid WHERE nspname = {quoted(schema)} AND typtype = 'e'"))
    made_tables = made_columns = 0
    statements = [f"CREATE TYPE {named(name)} AS ENUM ({', '.join(map(quoted, values))});"
                  for name, values in enums.items() if name not in types]
    links = []
    for model in models.values():
        stored = [field for field in model.fields.values() if field.is_column or field.type in enums]
        new = [field for field in stored if f"{model.table}.{field.column}" not in present]
        if len(new) == len(stored):
            made_tables += 1
            keys = [*model.keys, *([field.column] for field in stored if field.is_key)]
            uniques = [*model.uniques, *([field.column] for field in stored if field.is_unique)]
            lines_ = [column(field) for field in stored]
            lines_ += [f"PRIMARY KEY ({named(*columns)})" for columns in keys]
            lines_ += [f"UNIQUE ({named(*columns)})" for columns in uniques if columns not in keys]
            statements.append(f"CREATE TABLE {named(model.table)} ({', '.join(lines_)});")
        else:
            made_columns += len(new)
            statements += [f"ALTER TABLE {named(model.table)} ADD COLUMN {column(field)};" for field in new]
        for field in model.fields.values():
            if field.link and field.type in models and model.fields[field.link[0]] in new:
                own, other = model.fields[field.link[0]], models[field.type].fields[field.link[1]]
                rule = {"Cascade": "CASCADE", "SetNull": "SET NULL"}.get(field.on_delete)
                rule = rule or ("SET NULL" if own.is_optional else "RESTRICT")
                links.append(f"ALTER TABLE {named(model.table)} ADD FOREIGN KEY ({named(own.column)}) REFERENCES "
                             f"{named(models[field.type].table)} ({named(other.column)}) ON DELETE {rule} ON UPDATE CASCADE;")
    return made_tables, made_columns, statements + links


def column(field):
    type = TYPES.get(field.type) or named(field.type)
    if "autoincrement()" in field.rest:
        type = "bigserial" if field.type == "BigInt" else "serial"
    default = field.default()
    required = not field.is_optional and not field.is_list
    return (f"{named(field.column)} {type}{'[]' if field.is_list else ''}{' NOT NULL' if required else ''}"
            f"{' DEFAULT ' + default if default else ''}")


def psql(url, schema, *arguments):
    command = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", *arguments, url]
    options = {**os.environ, "PGOPTIONS": f'-c search_path="{schema}" -c client_min_messages=error'}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=options)
    if ran.returncode:
        raise SystemExit(f"psql failed: {ran.stderr}")
    return ran.stdout


def lines(url, schema, query):
    return psql(url, schema, "--command", query).splitlines()
