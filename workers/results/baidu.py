"""The body of the Baidu robot's protocol for one image, in answers and in webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from workers.results.labels import Labels

BaiduCode: TypeAlias = tuple[int, str]

UNAVAILABLE: BaiduCode = (2, "Service temporarily unavailable")
LIMITED: BaiduCode = (18, "Open api qps request limit reached")
INVALID: BaiduCode = (100, "Invalid parameter")
WRONG_TOKEN: BaiduCode = (110, "Access token invalid or no longer valid")
MISSING: BaiduCode = (216101, "not enough param")
TOO_LONG: BaiduCode = (216103, "param too long")
EMPTY: BaiduCode = (216200, "empty image")
NOT_AN_IMAGE: BaiduCode = (216201, "image format error")
WRONG_SIZE: BaiduCode = (216202, "image size error")
NOT_BASE64: BaiduCode = (216203, "image size error")
INTERNAL: BaiduCode = (282000, "internal error")

_BY_CODE: Mapping[str, BaiduCode] = {
    "deadline_exceeded": UNAVAILABLE,
    "image_decode_failed": NOT_AN_IMAGE,
    "image_too_large": WRONG_SIZE,
    "model_out_of_memory": UNAVAILABLE,
    "model_unavailable": UNAVAILABLE,
    "unsupported_format": NOT_AN_IMAGE,
}


def request_id_of(result: Mapping[str, Any], job: str) -> str:
    """Return the id of a result in Baidu's formats: the image's `custom_id`, or `<job>/<index>`."""
    return result.get("custom_id") or f"{job}/{result['index']}"


def baidu_body(result: Mapping[str, Any], request_id: str, labels: Labels) -> dict[str, Any]:
    """Return the body for a stored result, with its detections or its error."""
    if result["state"] != "succeeded":
        return baidu_error(code_of((result.get("error") or {}).get("code", "")), request_id)
    detections = [
        {"score": detection["score"], "root": labels.root(detection["label"]), "keyword": detection["label"]}
        for detection in result["detections"]
    ]
    return {
        "requestId": request_id,
        "result": detections,
        "resultNum": len(detections),
        "filterThreshold": labels.score_threshold,
        "extInfos": {},
    }


def code_of(image_error: str) -> BaiduCode:
    """Return Baidu's code and message for the error code of a failed image."""
    return _BY_CODE.get(image_error, INTERNAL)


def baidu_error(error: BaiduCode, request_id: str) -> dict[str, Any]:
    """Return the body for one of Baidu's errors (code, message)."""
    code, message = error
    return {"error_code": code, "error_msg": message, "requestId": request_id}
