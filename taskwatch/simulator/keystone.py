"""What IAM says, in Keystone's words and shapes."""

import json
from collections.abc import Mapping
from datetime import datetime

from aiohttp import web

from taskwatch.simulator.identity import Identity
from taskwatch.simulator.principals import REGION, Domain, IamProject
from taskwatch.simulator.tokens import Token

SERVICE = "gaussdb-opengauss"
_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
_ROLES = [{"id": "0", "name": "GaussDB ReadOnlyAccess"}]


def refusal(status: int, message: str) -> web.Response:
    body = {"error": {"code": status, "message": message, "title": _TITLES[status]}}
    return _json(body, status)


def unauthorized() -> web.Response:
    return refusal(401, "The request you have made requires authentication.")


def malformed() -> web.Response:
    return refusal(400, "The request body is invalid.")


def discovery(auth_url: str) -> web.Response:
    """Return what a client reads to find out which version is spoken here."""
    version = {
        "id": "v3.6",
        "status": "stable",
        "updated": "2016-04-04T00:00:00Z",
        "links": [{"rel": "self", "href": f"{auth_url}/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
    return _json({"version": version})


def token_answer(token: Token, catalogue: list[dict[str, object]] | None, status: int = 201) -> web.Response:
    """Return the token: its text in the header, all else in the body."""
    body: dict[str, object] = {
        "methods": [token.method],
        "issued_at": _time_text(token.issued_at),
        "expires_at": _time_text(token.expires_at),
        "user": _user(token),
        "roles": _ROLES,
    }
    if token.project is None:
        body["domain"] = _domain(token.domain)
    else:
        body["project"] = _project_in_token(token.project)
    if token.agency is not None:
        assumed_by = {"id": token.user.id, "name": token.user.name, "domain": _domain(token.user.domain)}
        body["assumed_by"] = {"user": assumed_by}
    if catalogue is not None:
        body["catalog"] = catalogue
    answer = _json({"token": body}, status)
    answer.headers["X-Subject-Token"] = token.text
    return answer


def project_list(projects: list[IamProject], auth_url: str) -> web.Response:
    listed = [
        {
            "id": project.id,
            "name": project.name,
            "domain_id": project.domain.id,
            "parent_id": project.domain.id,
            "is_domain": False,
            "enabled": True,
            "description": "",
            "links": {"self": f"{auth_url}/projects/{project.id}"},
        }
        for project in projects
    ]
    return _json(
        {"projects": listed, "links": {"self": f"{auth_url}/projects", "previous": None, "next": None}}
    )


def catalogue_answer(catalogue: list[dict[str, object]], auth_url: str) -> web.Response:
    return _json({"catalog": catalogue, "links": {"self": f"{auth_url}/auth/catalog"}})


def catalogue(identity: Identity, project: IamProject | None, url: str) -> list[dict[str, object]]:
    """Return which services there are for whom: without a project, IAM alone."""
    entries = [_entry("iam", REGION, f"{url}/v3", identity)]
    if project is not None:
        path = f"/v3/{project.id}" if identity.accounts.catalogue_names_project else ""
        entries.append(_entry(SERVICE, REGION, url + path, identity))
    return entries


def _entry(type_: str, region: str, url: str, identity: Identity) -> dict[str, object]:
    endpoint = {
        "id": f"{type_}-{identity.home.id[:8]}",
        "interface": "public",
        "region": region,
        "region_id": region,
        "url": url,
    }
    return {"id": f"{type_}-{identity.home.id[8:16]}", "type": type_, "name": type_, "endpoints": [endpoint]}


def _user(token: Token) -> dict[str, object]:
    if token.agency is not None:
        name = f"{token.agency.domain.name}/{token.agency.name}"
        return {"id": token.agency.id, "name": name, "domain": _domain(token.agency.domain)}
    return {
        "id": token.user.id,
        "name": token.user.name,
        "domain": _domain(token.user.domain),
        "password_expires_at": "",
    }


def _domain(domain: Domain) -> dict[str, object]:
    return {"id": domain.id, "name": domain.name}


def _project_in_token(project: IamProject) -> dict[str, object]:
    return {"id": project.id, "name": project.name, "domain": _domain(project.domain)}


def _time_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
