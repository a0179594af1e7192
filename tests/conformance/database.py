"""The database client that LiteLLM is given: it reads the rows of one schema over psycopg.

The client answers as Prisma's does, as far as the code that decides access asks: a list that is NULL is empty, an
element that is NULL is an error.
"""

import datetime
import json
import re
import uuid

import psycopg
import schema as schemas
from psycopg import sql

JSON_NULL = object()
MODELS = """ObjectPermissionTable OrganizationTable TeamTable UserTable EndUserTable AgentsTable VerificationToken
AccessGroupTable MCPToolsetTable MCPServerTable Config ProjectTable BudgetTable ModelTable TeamMembership
OrganizationMembership AgentIdentity DeprecatedVerificationToken MCPServerOAuthClient MCPUserCredentials MCPUserEnvVars""".split()


class Row:
    """One row, as Prisma's Python client hands it out."""

    def __init__(self, values):
        self.__dict__.update(values)

    def model_dump(self, **_):
        return {name: value.model_dump() if isinstance(value, Row) else value for name, value in self.__dict__.items()}

    dict = model_dump

    def __iter__(self):
        return iter(self.__dict__.items())


class Table:
    def __init__(self, database, name):
        self.database, self.name, self.fields = database, name, database.models[name]

    async def find_unique(self, where, include=None, **_):
        return next(iter(self._select(where, include)), None)

    async def find_first(self, where=None, include=None, **_):
        return next(iter(self._select(where or {}, include)), None)

    async def find_many(self, where=None, include=None, take=None, **_):
        return self._select(where or {}, include)[:take]

    async def count(self, where=None, **_):
        return len(self._select(where or {}, None))

    def _select(self, where, include):
        return [self._row(row, include or {}) for row in self.database.rows(self.name) if self._matches(row, where)]

    def _matches(self, row, where):
        for name, wanted in where.items():
            if name in ("OR", "AND"):
                clauses = [self._matches(row, clause) for clause in wanted]
                if not (any(clauses) if name == "OR" else all(clauses)):
                    return False
            elif name == "NOT":
                clauses = wanted if isinstance(wanted, list) else [wanted]
                if any(self._matches(row, clause) for clause in clauses):
                    return False
            elif not self._holds(row.get(name), wanted):
                return False
        return True

    @staticmethod
    def _holds(value, wanted):
        if not isinstance(wanted, dict):
            return value == wanted
        for test, operand in wanted.items():
            holds = {
                "in": lambda: value in operand,
                "not": lambda: value is not None if operand is None else value != operand,
                "equals": lambda: value == operand,
                "has": lambda: operand in (value or []),
                "has_some": lambda: bool(set(operand) & set(value or [])),
                "hasSome": lambda: bool(set(operand) & set(value or [])),
                "is_empty": lambda: (not value) == operand,
                "isEmpty": lambda: (not value) == operand,
                "gt": lambda: value is not None and value > operand,
                "contains": lambda: operand in (value or ""),
            }[test]
            if not holds():
                return False
        return True

    def _row(self, row, include):
        values = {}
        for field in self.fields.values():
            if field.is_column:
                value = row[field.column]
                if field.is_list:
                    value = value or []
                    if None in value:
                        raise ValueError(f"{self.name}.{field.name}: an element is null")
                values[field.name] = value
            elif include.get(field.name) and field.link and field.type in self.database.models:
                own, other = field.link
                related = Table(self.database, field.type)
                found = related._select({other: row[own]}, None) if row[own] is not None else []
                values[field.name] = found[0] if found else None
            else:
                values[field.name] = [] if field.is_list and include.get(field.name) else None
        return Row(values)


class Database:
    """`prisma_client.db`."""

    # Counts how often Prisma's engine was started anew; LiteLLM asks since 1.110.
    engine_generation = 0

    def __init__(self, url, prisma, schema, migrations=None):
        schemas.create(url, schema, prisma, migrations)
        # The models that access depends on: name -> fields.
        self.models = {name: model.fields for name, model in schemas.models_of(prisma).items()
                       if name.removeprefix("LiteLLM_") in MODELS}
        self.connection = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor)
        self.connection.execute(f'SET search_path = "{schema}"')
        # Rows of the worlds link to rows that are gone, and LiteLLM's triggers know nothing of that.
        self.connection.execute("SET session_replication_role = replica")
        for name in self.models:
            setattr(self, name.lower(), Table(self, name))
        self.cache = {}

    def fill(self, rows):
        """Replaces what is in every table by `rows`: table -> list of rows. Columns that the release lacks are left out."""
        self.cache = {}
        for name, fields in self.models.items():
            self.connection.execute(f'DELETE FROM "{name}"')
            for row in rows.get(name, []):
                row = {**self.defaults(name), **{k: v for k, v in row.items() if k in fields}}
                columns = ", ".join(f'"{column}"' for column in row)
                places = ", ".join(f"${n + 1}" for n in range(len(row)))
                values = [self.stored(v) if fields[k].type == "Json" else v for k, v in row.items()]
                self.connection.execute(f'INSERT INTO "{name}" ({columns}) VALUES ({places})', values)

    @staticmethod
    def stored(value):
        """A JSON value as text; None is the NULL of SQL, and JSON_NULL that of JSON."""
        if value is None:
            return None
        return "null" if value is JSON_NULL else json.dumps(value)

    def defaults(self, name):
        now, made = datetime.datetime(2026, 1, 1), {}
        for field in self.models[name].values():
            if field.is_column:
                default = re.search(r"@default\((\[\]|[^()]*(?:\(\))?)\)", field.rest)
                text = default.group(1) if default else None
                if field.is_list:
                    made[field.name] = []
                elif text == "now()" or (field.type == "DateTime" and not field.is_optional):
                    made[field.name] = now
                elif text == "uuid()":
                    made[field.name] = str(uuid.uuid4())
                elif text is not None:
                    made[field.name] = json.loads(json.loads(text)) if field.type == "Json" else json.loads(text)
                elif not field.is_optional:
                    made[field.name] = {"String": "", "Json": {}, "Boolean": False}.get(field.type, 0)
        return made

    def rows(self, name):
        if name not in self.cache:
            self.cache[name] = self._fetched(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
        return self.cache[name]

    async def query_raw(self, query, *arguments):
        return self._fetched(query, arguments)

    def _fetched(self, query, arguments=None):
        try:
            with self.connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                return cursor.execute(query, arguments).fetchall()
        except psycopg.OperationalError as error:
            # LiteLLM catches what Prisma raises, and answers that nobody may use anything. Without a server to ask,
            # that is no answer: what LiteLLM does not catch ends the run.
            raise SystemExit(f"the database does not answer: {error}") from error

    async def query_first(self, query, *arguments):
        return next(iter(await self.query_raw(query, *arguments)), None)

    def __getattr__(self, name):
        if not name.startswith("litellm_"):
            raise AttributeError(name)
        raise NotImplementedError(f"the client has no table {name}")
