"""`recipes serve RUN`: an OpenAI-compatible endpoint on this machine, through the handlers of `transformers serve`.

That command itself loads whatever model a request names, lists the hub's cache as its models, knows no adapters, and samples as
the model suggests. Here is one model, loaded as `recipes chat` loads it, and it answers as it was measured.
"""

import contextlib
import json
import shlex
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from common.errors import brief, fail, say
from common.generate.response import response_template
from common.generate.settings import generation_config
from common.models.saved import load_run

from jinja2 import TemplateError
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.cli.serving.model_manager import ModelManager
from transformers.utils.import_utils import is_serve_available

HOST = "127.0.0.1"  # no password is asked for
LONGEST = 1024  # where an answer is cut if neither the request nor the run says so, as in transformers


class OneModel(ModelManager):
    """Has one model, which is loaded already, whatever is asked for."""

    def __init__(self, name: str, model: PreTrainedModel, processing: PreTrainedTokenizerBase | ProcessorMixin):
        super().__init__()
        self.force_model = name  # a request that names another one is refused
        self.served = model, processing

    def process_model_name(self, model_id: str) -> str:
        return model_id  # and no revision

    def load_model_and_processor(
        self, model_id_and_revision: str, **options: Any
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | ProcessorMixin]:
        if model_id_and_revision != self.force_model:
            raise ValueError(f"only {self.force_model} is served")
        return self.served

    def get_gen_models(self) -> list[dict[str, Any]]:
        return [{"id": self.force_model, "object": "model", "created": 0, "owned_by": "zero-recipes"}]


class AsMeasured:
    """A handler of transformers, told how to generate: as the model was measured, or sampling as the request says.

    By itself it takes what the model suggests for chatting, passes over a temperature where that is greedy, streams what is
    asked at /v1/responses though nobody has asked for a stream, and fails on an empty list of stops.
    """

    def __init__(self, handler: Any, config: Callable[..., GenerationConfig]):
        self.handler, self.config = handler, config

    def _told(self, body: dict[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in body.items() if name != "stop" or value}
        temperature, top_p = body.pop("temperature", None), body.pop("top_p", None)
        if temperature is None:
            temperature = 0.0 if top_p is None else 1.0  # OpenAI's own default
        if temperature < 0:
            raise ValueError(f"temperature is {temperature}; use 0 for the likeliest token, or a number above 0")
        made = self.config(temperature=float(temperature), top_p=None if top_p is None else float(top_p))
        return {"generation_config": made.to_json_string(use_diff=False), "stream": False} | body

    async def handle_request(self, body: dict[str, Any], request_id: str) -> Any:
        from fastapi import HTTPException

        try:
            body = self._told(body)
            answer = await self.handler.handle_request(body, request_id)
        except (ValueError, TemplateError) as error:  # what the request says, or a turn that the chat template refuses
            raise HTTPException(status_code=400, detail=brief(error)) from None
        if body.get("stream"):
            answer.body_iterator = _with_errors_in_json(answer.body_iterator)
        return answer


async def _with_errors_in_json(events: AsyncIterable[str]) -> AsyncIterator[str]:
    """Writes an error in a stream as a client reads it: transformers puts its text between quotes as it is, line breaks too."""
    begin = 'data: {"error": "'
    async for event in events:
        before, found, after = event.partition(begin)
        error = {"error": {"message": brief(ValueError(after.removesuffix('"}\n\n')))}}
        yield f"{before}data: {json.dumps(error)}\n\n" if found else event


def _listen(port: int) -> socket.socket:
    """Returns a socket that is connected to already: whoever asks waits until the model is loaded."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        fail(f"--port {port} cannot be used ({error.strerror}); choose another, or 0 for one that is free")
    return listener


def _read_calls(tokenizer: PreTrainedTokenizerBase) -> None:
    """Has transformers tell calls from text, and give what is no valid call as the text that it is."""
    tokenizer.response_template = response_template(tokenizer)
    parse = tokenizer.parse_response

    def parse_response(response: Any, *args: Any, **options: Any) -> dict[str, Any]:
        try:
            return parse(response, *args, **options)
        except (ValueError, KeyError):
            return {"content": tokenizer.decode(response, skip_special_tokens=True)}

    tokenizer.parse_response = parse_response


def serve(folder: Path, port: int) -> None:
    """Answers requests in the form of OpenAI's API until it is interrupted.

    Args:
        folder: A run, one of its checkpoints, an export, or the folder of a saved model or adapter.
        port: Where it listens, on this machine alone; 0 takes a free one.

    Raises:
        SystemExit: With code 2 and one line if packages are missing, the port is taken, or there is no model in the folder.
    """
    if not is_serve_available():
        fail("serving needs fastapi, uvicorn and openai; `pip install 'transformers[serving]'` brings them")
    import uvicorn
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler
    from transformers.cli.serving.response import ResponseHandler
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.systemone import SystemOneHandler
    from transformers.cli.serving.transcription import TranscriptionHandler
    from transformers.cli.serving.utils import GenerationState

    if not folder.is_dir():
        fail(f"{folder}: there is no such folder; pass a run, a checkpoint-N of one, an export, or a saved model")
    listener = _listen(port)
    model, processing, settings = load_run(folder)
    tokenizer = processing.tokenizer if isinstance(processing, ProcessorMixin) else processing
    if processing.chat_template is None:
        fail(f"{folder} has no chat template, so it cannot be asked; put its family's beside it, as chat_template.jinja")
    _read_calls(tokenizer)
    if isinstance(model, PeftModel):
        model = model.get_base_model()  # its layers hold the adapter's
    limit = settings.get("max_new_tokens") or settings.get("max_completion_length") or LONGEST

    def config(**sampling: float | None) -> GenerationConfig:
        return generation_config(model, tokenizer, max_new_tokens=limit, **sampling)

    model.generation_config = config()

    name, state = str(folder), GenerationState()
    manager = OneModel(name, model, processing)
    handlers = [handler(manager, state) for handler in (ChatCompletionHandler, CompletionHandler, ResponseHandler)]
    others = [TranscriptionHandler(manager, state), SystemOneHandler(manager, state)]
    app = build_server(manager, *(AsMeasured(handler, config) for handler in handlers), *others, state)
    address = f"http://{HOST}:{listener.getsockname()[1]}/v1"
    system = [{"role": "system", "content": settings["system_prompt"]}] if settings.get("system_prompt") else []
    request = json.dumps({"model": name, "messages": [*system, {"role": "user", "content": "..."}]}, ensure_ascii=False)
    say(f"{name} answers at {address} until Ctrl-C: greedily unless a temperature is given, cut after {limit} tokens.")
    say(f"curl {address}/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(request)}")
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
