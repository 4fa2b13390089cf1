#!/usr/bin/env bash
# litellm 1.110.2 (Python 3.11.7, CPU)
#
# Assumed: the standard logging payload, which callbacks, spend logs and exporters get, holds in
#   model_parameters how an answer was drawn.
# Seen: top_k, which the server was sent and drew by, is not in it. A log made of the payload says that
#   temperature and top_p were all. The same holds for whatever else is no parameter of OpenAI's
#   (min_p, repetition_penalty): they stand in the callback's optional_params, under extra_body.
# Output:
#   sent: {'temperature': 0.7, 'top_k': 5, 'min_p': 0.1}
#   logged: {'temperature': 0.7}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "litellm==1.110.2"
LITELLM_LOCAL_MODEL_COST_MAP=True "$work/venv/bin/python" - 2>/dev/null <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import litellm
from litellm.integrations.custom_logger import CustomLogger

sent, logged, told = {}, {}, threading.Event()


class Server(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        sent.update(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "m"}
        content = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Logger(CustomLogger):
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        logged.update(kwargs["standard_logging_object"]["model_parameters"])
        told.set()


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
litellm.callbacks = [Logger()]
litellm.completion(
    model="hosted_vllm/m",
    api_base=f"http://127.0.0.1:{server.server_port}/v1",
    api_key="x",
    messages=[{"role": "user", "content": "Really?"}],
    temperature=0.7,
    top_k=5,
    min_p=0.1,
)
assert told.wait(60)
names = ("temperature", "top_k", "min_p")
print("sent:", {name: sent[name] for name in names if name in sent})
print("logged:", {name: logged[name] for name in names if name in logged})
if sent.get("top_k") != 5 or "top_k" in logged:
    sys.exit("the payload holds top_k now")
PY
