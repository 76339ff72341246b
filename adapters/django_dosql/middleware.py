"""Middleware: a request's header or cookie chooses the branch, or the moment, that it works on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.module_loading import import_string

from django_dosql.places import Place, sent_to
from django_dosql.switching import check_branch, past_of

BRANCH_HEADER = "X-DoSQL-Branch"
MOMENT_HEADER = "X-DoSQL-As-Of"
BRANCH_COOKIE = "dosql_branch"
MOMENT_COOKIE = "dosql_as_of"


def staff_or_debug(request: HttpRequest) -> bool:
    """Whether the request may choose: in DEBUG, and where a member of the staff is logged in."""
    user = getattr(request, "user", None)
    return bool(settings.DEBUG or (user is not None and user.is_active and user.is_staff))


class PlaceMiddleware:
    """Sends the databases of one request to the branch or the moment it asks for.

    Settings: `DOSQL_REQUEST_DATABASE` is the alias it is about (default), and
    `DOSQL_REQUEST_ALLOWED` the path of a function that is given the request and says whether it may
    choose; `staff_or_debug` by default, so this stands behind AuthenticationMiddleware.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.database = getattr(settings, "DOSQL_REQUEST_DATABASE", DEFAULT_DB_ALIAS)
        allowed = getattr(settings, "DOSQL_REQUEST_ALLOWED", None)
        self.is_allowed = import_string(allowed) if allowed else staff_or_debug
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self.is_async:
            return self._respond_async(request)
        try:
            place = self._place(request)
        except Error as error:
            return HttpResponseBadRequest(str(error))
        if place is None:
            return _varied(self.get_response(request))
        with sent_to(self.database, place):
            return _varied(self._kept(self.get_response(request), place))

    async def _respond_async(self, request: HttpRequest) -> HttpResponse:
        try:
            place = await sync_to_async(self._place)(request)
        except Error as error:
            return HttpResponseBadRequest(str(error))
        if place is None:
            return _varied(await self.get_response(request))
        with sent_to(self.database, place):
            return _varied(self._kept(await self.get_response(request), place))

    def _place(self, request: HttpRequest) -> Place | None:
        branch = request.headers.get(BRANCH_HEADER) or request.COOKIES.get(BRANCH_COOKIE)
        moment = request.headers.get(MOMENT_HEADER) or request.COOKIES.get(MOMENT_COOKIE)
        if not (branch or moment) or not self.is_allowed(request):
            return None
        place = check_branch(branch, self.database) if branch else None
        if not moment:
            return place
        with sent_to(self.database, place):
            return past_of(
                self.database, int(moment) if moment.removeprefix("-").isdecimal() else moment
            )

    def _kept(self, response: HttpResponse, place: Place) -> HttpResponse:
        """The response, for no cache; one that streams goes on reading where it was sent."""
        patch_cache_control(response, private=True, no_store=True)
        if response.streaming and response.is_async:
            response.streaming_content = self._stream_async(response.streaming_content, place)
        elif response.streaming:
            response.streaming_content = self._stream(response.streaming_content, place)
        return response

    def _stream(self, parts: Iterator[bytes], place: Place) -> Iterator[bytes]:
        source = iter(parts)
        while True:
            # Never across a yield: the server may run other requests between two parts.
            with sent_to(self.database, place):
                part = next(source, None)
            if part is None:
                return
            yield part

    async def _stream_async(
        self, parts: AsyncIterator[bytes], place: Place
    ) -> AsyncIterator[bytes]:
        source = aiter(parts)
        while True:
            with sent_to(self.database, place):
                part = await anext(source, None)
            if part is None:
                return
            yield part


def _varied(response: HttpResponse) -> HttpResponse:
    patch_vary_headers(response, (BRANCH_HEADER, MOMENT_HEADER))
    return response
