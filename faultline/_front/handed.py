"""The names that the `faultline` fixture hands on, so that `faultline.serve(faultline.reset())` works in a test too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultline import modes
    from faultline._core import causes, computed, gate, llm_events, paths, replies, websocket
    from faultline._core import planning as plans
    from faultline._core import script as scripts
    from faultline._front import recorded, written
    from faultline._front.control import start
    from faultline._sweep import sweep as sweeps
    from faultline.modes import grpc, http2

    class Handed:
        """The modes, plans, steps and assertions; a test compares this list with the catalogue."""

        raises = staticmethod(causes.raises)
        root_cause = staticmethod(causes.root_cause)
        Gate = gate.Gate
        answer = staticmethod(computed.answer)
        anthropic_events = staticmethod(llm_events.anthropic_events)
        openai_chunks = staticmethod(llm_events.openai_chunks)
        by_path = staticmethod(paths.by_path)
        control = staticmethod(start.control)
        cycle = staticmethod(plans.cycle)
        load = staticmethod(recorded.load)
        plan = staticmethod(written.plan)
        max_connections = staticmethod(plans.max_connections)
        sequence = staticmethod(plans.sequence)
        sometimes = staticmethod(plans.sometimes)
        sweep = staticmethod(sweeps.sweep)
        through = staticmethod(plans.through)
        when = staticmethod(plans.when)
        hold = staticmethod(scripts.hold)
        receive = staticmethod(scripts.receive)
        receive_all = staticmethod(replies.receive_all)
        receive_prefixed = staticmethod(scripts.receive_prefixed)
        receive_request = staticmethod(scripts.receive_request)
        receive_until = staticmethod(scripts.receive_until)
        repeat = staticmethod(scripts.repeat)
        reply = staticmethod(replies.reply)
        respond = staticmethod(scripts.respond)
        script = staticmethod(scripts.script)
        send = staticmethod(scripts.send)
        starttls = staticmethod(scripts.starttls)
        stoptls = staticmethod(scripts.stoptls)
        accept = staticmethod(websocket.accept)
        bad_frame = staticmethod(websocket.bad_frame)
        bad_mask = staticmethod(websocket.bad_mask)
        close_frame = staticmethod(websocket.close_frame)
        cut_frame = staticmethod(websocket.cut_frame)
        drop = staticmethod(websocket.drop)
        fragment = staticmethod(websocket.fragment)
        ignore_pings = staticmethod(websocket.ignore_pings)
        receive_bytes = staticmethod(websocket.receive_bytes)
        receive_close = staticmethod(websocket.receive_close)
        receive_text = staticmethod(websocket.receive_text)
        send_bytes = staticmethod(websocket.send_bytes)
        send_ping = staticmethod(websocket.send_ping)
        send_text = staticmethod(websocket.send_text)
        addresses = staticmethod(modes.addresses)
        bad_cert = staticmethod(modes.bad_cert)
        bad_dns = staticmethod(modes.bad_dns)
        bad_tls = staticmethod(modes.bad_tls)
        bad_grpc = staticmethod(grpc.bad_grpc)
        bad_http2 = staticmethod(http2.bad_http2)
        goaway = staticmethod(http2.goaway)
        grpc_ok = staticmethod(grpc.grpc_ok)
        grpc_status = staticmethod(grpc.grpc_status)
        http2_settings = staticmethod(http2.http2_settings)
        rst_stream = staticmethod(http2.rst_stream)
        blackhole = staticmethod(modes.blackhole)
        close = staticmethod(modes.close)
        corrupt = staticmethod(modes.corrupt)
        drip = staticmethod(modes.drip)
        drop_bytes = staticmethod(modes.drop_bytes)
        duplicate = staticmethod(modes.duplicate)
        duplicated = staticmethod(modes.duplicated)
        echo = staticmethod(modes.echo)
        half_close = staticmethod(modes.half_close)
        inject = staticmethod(modes.inject)
        latency = staticmethod(modes.latency)
        loss = staticmethod(modes.loss)
        malformed = staticmethod(modes.malformed)
        no_address = staticmethod(modes.no_address)
        nxdomain = staticmethod(modes.nxdomain)
        ok = staticmethod(modes.ok)
        one_way = staticmethod(modes.one_way)
        partition = staticmethod(modes.partition)
        raw = staticmethod(modes.raw)
        redirect = staticmethod(modes.redirect)
        refuse = staticmethod(modes.refuse)
        reordered = staticmethod(modes.reordered)
        reset = staticmethod(modes.reset)
        resolves_to = staticmethod(modes.resolves_to)
        servfail = staticmethod(modes.servfail)
        slicer = staticmethod(modes.slicer)
        slow_close = staticmethod(modes.slow_close)
        slow_resolve = staticmethod(modes.slow_resolve)
        socks_refusal = staticmethod(modes.socks_refusal)
        sse = staticmethod(modes.sse)
        stall = staticmethod(modes.stall)
        status = staticmethod(modes.status)
        throttle = staticmethod(modes.throttle)
        trickle_headers = staticmethod(modes.trickle_headers)
        unreachable = staticmethod(modes.unreachable)
        websocket = staticmethod(modes.websocket)

else:  # a new mode needs no line: the names are those of the package

    class Handed:
        """Hands on the public functions of the package."""

        def __getattr__(self, name: str) -> Any:
            import faultline

            if name.startswith("_") or name not in faultline.__all__:
                text = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(text, name=name, obj=self)
            return getattr(faultline, name)
