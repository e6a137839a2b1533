"""deploy/'s servers up and through a whole tiny run, by the compose file's own commands, settings and health checks.

Without Docker (tests/pipelines/containers.py). The images of others are not here: Postgres and nginx are Debian's,
started as their images' entry points do it, and moto takes the place of MinIO, with the same policies enforced.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import toy_project as toy
from tests.pipelines.containers import ROOT, Service, Stack, possible
from tests.pipelines.live import Live
from tests.waiting import wait

pytestmark = [pytest.mark.slow, pytest.mark.long]
DOMAIN, PASSWORD = "team.example", "correct horse"
SECRETS = ("LOGIN_COOKIE", "POSTGRES_PASSWORD", "DAGSTER_DATABASE_PASSWORD", "MLFLOW_DATABASE_PASSWORD")
USER = "1000:1000"
IMAGE = os.environ.get("STACK_IMAGE", "")
"""Folder with the files of an image of deploy/Dockerfile; without it the project's services use this machine's."""
MODEL_STAGE = """\
  model:
    desc: A model with random weights, registered
    cmd: python code/model.py data/join/documents data/model
    deps: [data/join/documents, code/model.py]
    outs: [data/model]
"""
MODEL_PY = """\
import json, sys
from pathlib import Path
from llm_core.runtime.digests import content_digest
from llm_core.tracking import registry, runs
from tests.llm_core.tiny_gpt2 import make

out = Path(sys.argv[2])
model, evaluation = make(out / "model"), out / "evaluation"
evaluation.mkdir()
(evaluation / "about.json").write_text(json.dumps({"model": str(model), "digest": content_digest(model)}))
with runs.run("pretrain", {"steps": 3}) as run:
    run.metrics({"loss": 2.5})
registry.register(model, evaluation, {"score": 0.5}, lambda *_: (True, "the first"), out / "record.json", "toy-model")
"""
POSTGRES = r"""
set -eu
chown postgres "$PGDATA"
printf %s "$POSTGRES_PASSWORD" > /run/password
mkdir -p /run/postgresql && chown postgres /run/postgresql /run/password
as() { runuser -u postgres -- "$@"; }
as initdb --username "$POSTGRES_USER" --pwfile /run/password -A scram-sha-256 > /dev/null
echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
as pg_ctl -w -o "-c listen_addresses=" start > /dev/null
export PGPASSWORD=$POSTGRES_PASSWORD
for file in /docker-entrypoint-initdb.d/*.sql; do
  as psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres --file "$file"
done
as pg_ctl -w stop > /dev/null
exec runuser -u postgres -- postgres -c listen_addresses='*' -c fsync=off
"""
NGINX = r"""
cd /etc/nginx/templates
filled="s/\${TEAM_DOMAIN}/$TEAM_DOMAIN/g; s/\${LOGIN_COOKIE}/$LOGIN_COOKIE/g"
sed "$filled" nginx.conf.template > "$NGINX_ENVSUBST_OUTPUT_DIR/nginx.conf"
exec nginx -g 'daemon off;'
"""
BUCKETS = """
import sys, boto3
client = lambda service: boto3.client(
    service, endpoint_url="http://127.0.0.1:9000", region_name="us-east-1",
    aws_access_key_id="a", aws_secret_access_key="a",
)
iam, s3 = client("iam"), client("s3")
for bucket in sys.argv[1:]:
    s3.create_bucket(Bucket=bucket)
for user in ("pipeline", "mlflow"):
    iam.create_user(UserName=user)
    policy = open(f"/policies/{user}.json").read()
    iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    print(key["AccessKeyId"], key["SecretAccessKey"])
"""
LIST = """
import sys, boto3
for entry in boto3.client("s3").list_objects_v2(Bucket=sys.argv[1]).get("Contents", []):
    print(entry["Key"])
"""


def image_variables(programs: str | Path = Path(sys.executable).parent) -> dict[str, str]:
    """What the Dockerfile's ENV sets, with the given programs in the place of the image's."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"(?m)^ENV (.+)$", text)
    found = dict(pair.split("=", 1) for pair in line.split())
    here = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    here["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    return found | here | {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}


def last_run_of_the_image() -> str:
    """The Dockerfile's last RUN, which prepares the folders and git."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"(?m)^RUN (.+)$", text)[-1]


class Team(Stack):
    """The stack of deploy/ with the stand-ins for images that are not here."""

    def describe(self, name: str) -> Service:
        """A service of the compose file as it is started here."""
        if name == "visitor":
            return self.visitor()
        service = self.service(name)
        if self.described["services"][name]["image"].startswith("llm-pipeline:"):
            programs = "/opt/venv/bin" if IMAGE else Path(sys.executable).parent
            service.environment = image_variables(programs) | service.environment
            service.folder, service.files = "/project", Path(IMAGE or "/")
            copied = "mkdir -p /opt/torch_extensions /dagster && cp /deploy/dagster.yaml /dagster"
            service.prepare = "" if IMAGE else f"{copied} && {last_run_of_the_image()}"
            service.mounts.append((self.compose.parent, "/deploy"))
        elif name == "postgres":
            binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
            service.environment |= {"PATH": f"{binaries}:/usr/sbin:/usr/bin:/bin", "PGDATA": "/var/lib/postgresql/data"}
            service.command = ["sh", "-c", POSTGRES]
        elif name == "objects":
            service.command = ["moto_server", "-H", "0.0.0.0", "-p", "9000"]
            service.environment = image_variables() | {
                "INITIAL_NO_AUTH_ACTION_COUNT": "8",  # the calls of BUCKETS; later ones need a key that may do it
                "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
            }
            service.health = "python -c \"import socket; socket.create_connection(('127.0.0.1', 9000))\""
            service.mounts.append((self.compose.parent / "policies", "/policies"))
        elif name == "proxy":
            service.environment["PATH"] = "/usr/sbin:/usr/bin:/bin"
            service.command = ["sh", "-euc", NGINX]
        return service

    def visitor(self) -> Service:
        """A team member's laptop: it is on the proxy's network alone and knows the public names."""
        variables = image_variables() | {
            "AWS_ACCESS_KEY_ID": self.variables["PIPELINE_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.variables["PIPELINE_SECRET"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"https://objects.{DOMAIN}",
            "AWS_CA_BUNDLE": "/team/tls.crt",
            "HOME": "/tmp",
        }
        mounts = [(self.compose.parents[1], "/project"), (self.compose.parent / "secrets", "/team")]
        return Service(["outside"], ["sleep", "infinity"], variables, mounts, health="true", user=USER, folder="/tmp")

    def exec(self, name: str, *command: str, text: str = "", check: bool = True) -> "subprocess.CompletedProcess[str]":
        """`docker exec` with the service's environment and user."""
        return self.run_in(name, list(command), self.describe(name), text, check)

    def public_names(self) -> str:
        """/etc/hosts of the visitor, in the place of DNS."""
        names = " ".join(f"{name}.{DOMAIN}" for name in ("dagster", "mlflow", "report", "objects"))
        return f"127.0.0.1 localhost\n{self.addresses('outside')['proxy']} {names}\n"

    def make_buckets(self) -> None:
        """In the place of the service `buckets`: its buckets and policies, with keys that moto chooses."""
        script = self.described["services"]["buckets"]["command"][0]
        (line,) = re.findall(r"mc mb .*", script)
        answer = self.exec("objects", "python", "-c", BUCKETS, *re.findall(r"team/([\w-]+)", line))
        words = answer.stdout.split()
        self.variables |= dict(
            zip(("PIPELINE_KEY", "PIPELINE_SECRET", "MLFLOW_KEY", "MLFLOW_SECRET"), words, strict=True)
        )

    def psql(self, role: str, database: str, query: str) -> str:
        """Rows of a query, asked as a role."""
        password = self.variables[f"{role.upper()}_DATABASE_PASSWORD"]
        address = f"postgresql://{role}:{password}@127.0.0.1/{database}"
        return self.exec("postgres", "psql", address, "--no-align", "--tuples-only", "-c", query).stdout.strip()

    def curl(self, url: str, *options: str, password: str | None = PASSWORD, text: str = "") -> tuple[int, int, str]:
        """A request from outside through the proxy: curl's exit code, HTTP's status, the answer's text."""
        login = ["--user", f"anna:{password}"] if password else []
        login += ["--cookie", "/tmp/cookies", "--cookie-jar", "/tmp/cookies"]  # as a browser does
        command = [
            "curl",
            "-sS",
            "--max-time",
            "20",
            "--cacert",
            "/team/tls.crt",
            "-w",
            "\n%{http_code}",
            *login,
            *options,
            url,
        ]
        done = self.exec("visitor", *command, text=text, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return done.returncode, int(status or 0), body


class Through(Live):
    """Dagster's GraphQL through the proxy."""

    def __init__(self, team: Team) -> None:
        super().__init__(team.compose.parents[1], f"https://dagster.{DOMAIN}", f"https://mlflow.{DOMAIN}", None)  # type: ignore[arg-type]
        self.team = team

    def query(self, text: str, **variables: Any) -> Any:
        """Data of a GraphQL query."""
        body = json.dumps({"query": text, "variables": variables})
        options = ("-H", "content-type: application/json", "--data-binary", "@-")
        code, status, answer = self.team.curl(f"{self.dagster}/graphql", *options, text=body)
        assert (code, status) == (0, 200), answer
        result = json.loads(answer)
        assert "errors" not in result, result["errors"]
        return result["data"]


def prepare(folder: Path) -> None:
    """A project with a model, deploy/'s files in it, a certificate and a password, owned by an ordinary user."""
    toy.edit(folder, "dvc.yaml", "  slow:\n", f"{MODEL_STAGE}  slow:\n")
    toy.edit(folder, "params.yaml", "slow: {steps: 0}", "slow: {steps: 12}")
    (folder / "code/model.py").write_text(MODEL_PY)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    with open(folder / ".gitignore", "a") as stream:
        stream.write("/deploy/secrets/\n")
    toy.dvc(folder, "remote", "add", "-d", "team", "s3://llm-pipeline/dvc")
    toy.commit(folder)
    secrets = folder / "deploy/secrets"
    secrets.mkdir()
    toy.run(
        secrets, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:*.{DOMAIN}", "-keyout", "tls.key", "-out", "tls.crt",
    )  # fmt: skip
    hashed = toy.run(secrets, "openssl", "passwd", "-6", PASSWORD)
    (secrets / "htpasswd").write_text(f"anna:{hashed}")
    (folder / "data").mkdir()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1000, 1000)


@pytest.fixture
def team(project: Path, tmp_path: Path) -> Iterator[Team]:
    reason = possible()
    missing = [name for name in ("nginx", "moto_server", "openssl", "curl") if not shutil.which(name)]
    if not importlib.util.find_spec("boto3"):
        missing.append("boto3")
    if not Path("/usr/lib/postgresql").is_dir():
        missing.append("Postgres")
    if reason or missing:
        pytest.skip(reason or f"not installed: {', '.join(missing)}")
    prepare(project)
    scratch = tmp_path / "containers"
    scratch.mkdir()
    variables = {"TEAM_DOMAIN": DOMAIN, "PROJECT_USER": USER, **{name: f"secret-{name.lower()}" for name in SECRETS}}
    variables |= dict.fromkeys(("STORE_ADMIN_KEY", "STORE_ADMIN_SECRET"), "")
    variables |= dict.fromkeys(("PIPELINE_KEY", "PIPELINE_SECRET", "MLFLOW_KEY", "MLFLOW_SECRET"), "")
    made = Team(project / "deploy/docker-compose.yaml", scratch, variables)
    try:
        made.make_networks()
        yield made
    finally:
        made.down()


def test_from_the_first_start_to_a_clean_clone(team: Team) -> None:
    team.up(once={"buckets": team.make_buckets})
    team.start("visitor", team.visitor(), team.public_names())
    wait(lambda: team.healthy("visitor"), what="the visitor")
    dagster = Through(team)

    # A whole run, whose code location dies and comes back in the middle of it.
    run = dagster.launch("words@a", "words@b", "long@a", "long@b", "join", "report", "model", "slow")
    ended = ("SUCCESS", "FAILURE")
    wait(lambda: any("step 1" in line for line in dagster.log(run)) or dagster.run(run)["status"] in ended)
    assert dagster.run(run)["status"] == "STARTED", "\n".join([*dagster.log(run)[-20:], team.log("runner")])
    team.kill("code")
    assert dagster.run(run)["status"] == "STARTED"
    team.start("code", team.describe("code"))
    wait(lambda: team.healthy("code"), what="the code location")
    wait(lambda: dagster.run(run)["status"] in ended, what="the end of the run")
    assert dagster.run(run)["status"] == "SUCCESS", "\n".join([*dagster.log(run)[-20:], team.log("runner")])

    what_the_run_left(team)
    a_clean_clone_has_nothing_to_do(team)
    outside_sees_the_proxy_alone(team)
    servers_know_their_names(team)
    keys_and_roles_reach_no_further(team)


def what_the_run_left(team: Team) -> None:
    """The model and its run, seen through the proxy, in Postgres and in the store."""
    search = f"https://mlflow.{DOMAIN}/api/2.0/mlflow/model-versions/search"
    code, status, answer = team.curl(search)
    assert (code, status) == (0, 200), answer
    (version,) = json.loads(answer)["model_versions"]
    assert (version["name"], version["version"]) == ("toy-model", "1")
    rows = "SELECT m.key, m.value FROM metrics m JOIN registered_models ON name = 'toy-model' WHERE m.key = 'loss'"
    assert team.psql("mlflow", "mlflow", rows) == "loss|2.5"
    objects = team.exec("mlflow", "python", "-c", LIST, "mlflow").stdout
    assert "model.safetensors" in objects and "evaluation/about.json" in objects


def a_clean_clone_has_nothing_to_do(team: Team) -> None:
    """Push where the run was made, commit, clone outside, pull through the proxy: `dvc repro` runs nothing."""
    team.exec("runner", "dvc", "--wait-for-lock", "push", "-q")
    team.exec("runner", "git", "add", "dvc.lock")
    team.exec("runner", "git", "commit", "-q", "-m", "what the servers made")
    team.exec("visitor", "git", "clone", "-q", "/project", "/tmp/clone")
    clone = ("env", "--chdir=/tmp/clone", "dvc")
    team.exec("visitor", *clone, "pull", "-q", "dvc.yaml")
    told = team.exec("visitor", *clone, "repro").stdout
    assert told.count("didn't change, skipping") == 8 and "Running stage" not in told, told
    inside = team.run_in("runner", ["git", "status", "--short"], replace(team.describe("runner"), user="0:0"))
    assert inside.stdout == "", "git answers another user than the files' owner, and what was made is committed"


def outside_sees_the_proxy_alone(team: Team) -> None:
    """A password, TLS and a known name; from outside no server answers by itself."""
    urls = [
        f"https://dagster.{DOMAIN}/server_info",
        f"https://mlflow.{DOMAIN}/",
        f"https://report.{DOMAIN}/metrics.json",
    ]
    for url in urls:
        assert team.curl(url, password=None)[:2] == (0, 401), f"{url} asks for a password"
        assert team.curl(url, password="wrong")[:2] == (0, 401)
        assert team.curl(url)[:2] == (0, 200), f"{url} opens with it"
        assert team.curl(url, "-H", "Host: evil.example")[:2] == (52, 0), "no answer to an unknown name"
    assert json.loads(team.curl(urls[2])[2])["kept"] == 17
    proxy = team.addresses("outside")["proxy"]
    assert team.curl(f"https://{proxy}/", "--insecure")[0] == 35, "no handshake without a known name"
    weak = ("--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0")  # curl alone would refuse TLS 1.1 too
    assert team.curl(urls[0], *weak)[0] == 35
    assert team.curl(f"http://dagster.{DOMAIN}:443/server_info")[1] == 400
    places = {name: team.addresses("inside")[name] for name in ("postgres", "objects", "mlflow", "code", "webserver")}
    for place in (*places.values(), *(team.addresses(network)["runner"] for network in ("inside", "downloads")), proxy):
        for port in (3000, 4000, 5000, 5432, 9000):
            assert team.curl(f"http://{place}:{port}/")[0] == 7, f"{place}:{port} cannot be reached from outside"
    for evil in ("https://evil.example", f"https://mlflow.{DOMAIN}.evil.example", "null"):
        for host in ("dagster", "mlflow"):
            status = team.curl(f"https://{host}.{DOMAIN}/", "-H", f"Origin: {evil}")[1]
            assert status == 403, f"a page of {evil} may not use the password that the browser knows"
    page = (
        "-H",
        f"Origin: https://mlflow.{DOMAIN}",
        "-H",
        "content-type: application/json",
        "-d",
        '{"max_results": 1}',
    )
    assert team.curl(f"https://mlflow.{DOMAIN}/ajax-api/2.0/mlflow/experiments/search", *page)[1] == 200, (
        "MLflow's own page"
    )
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "graphql-ws"}
    headers = [word for key, value in upgrade.items() for word in ("-H", f"{key}: {value}")]
    socket = team.curl(f"https://dagster.{DOMAIN}/graphql", "--http1.1", "--max-time", "3", *headers)
    assert socket[1] == 101, "Dagster's page gets its events"


def servers_know_their_names(team: Team) -> None:
    """Inside, MLflow answers its service name and no name of a stranger's."""
    ask = "import sys, requests; print(requests.get(sys.argv[1], headers={'Host': sys.argv[2]}).status_code)"
    url = "http://mlflow:5000/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert team.exec("runner", "python", "-c", ask, url, "mlflow:5000").stdout.strip() == "200"
    assert team.exec("runner", "python", "-c", ask, url, "evil.example").stdout.strip() == "403"


def keys_and_roles_reach_no_further(team: Team) -> None:
    """The pipeline's key opens DVC's bucket alone, MLflow's its own; a stranger's opens nothing; so do the roles."""
    denied = "AccessDenied"
    assert denied in team.exec("runner", "python", "-c", LIST, "mlflow", check=False).stderr
    assert denied in team.exec("mlflow", "python", "-c", LIST, "llm-pipeline", check=False).stderr
    assert "files/md5" in team.exec("runner", "python", "-c", LIST, "llm-pipeline").stdout
    create = "import boto3; boto3.client('s3').create_bucket(Bucket='another')"
    assert denied in team.exec("runner", "python", "-c", create, check=False).stderr
    forged = replace(team.describe("visitor"), environment=team.describe("visitor").environment)
    forged.environment["AWS_SECRET_ACCESS_KEY"] = "guessed"
    answer = team.run_in("visitor", ["python", "-c", LIST, "llm-pipeline"], forged, check=False)
    assert "SignatureDoesNotMatch" in answer.stderr
    assert team.psql("dagster", "dagster", "SELECT count(*) > 0 FROM runs") == "t"
    for role, database in (("dagster", "mlflow"), ("mlflow", "dagster")):
        with pytest.raises(AssertionError, match="permission denied for database"):
            team.psql(role, database, "SELECT 1")
