"""Rows with pictures as the model's input: tokens are prepared before training, pictures are opened when their batch comes."""

import sys
from collections.abc import Callable
from typing import Any

from common.data.conversations import usable
from common.data.pictures import image_size
from common.data.tokens import IGNORED, tokenize
from common.errors import BadRow, fail

import torch
from datasets import Dataset
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import ProcessorMixin

from arguments import OcrArguments
from images import fit, num_image_tokens, open_images
from rows import Row


def fitted_images(row: Row, processor: ProcessorMixin, args: OcrArguments) -> list[Any]:
    """Opens the pictures of a row and resizes them as qwen-vl-utils does."""
    patch_size = processor.image_processor.patch_size
    return [fit(image, args.min_pixels, args.max_pixels, patch_size) for image in open_images(row)]


def num_tokens(row: Row, num_text_tokens: int, processor: ProcessorMixin, args: OcrArguments) -> int:
    """Returns the length of a row with its pictures, of which only headers are read; generated ones are not drawn for it.

    Args:
        row: The row.
        num_text_tokens: How many tokens it has where each picture is one.
        processor: Says how large a patch is.
        args: Say how many pixels a picture may have.
    """
    patch_size = processor.image_processor.patch_size
    sizes = [image_size(source) for source in row["images"] if not row["drawn"]]
    return num_text_tokens + sum(num_image_tokens(size, args.min_pixels, args.max_pixels, patch_size) - 1 for size in sizes)


def _in_parts(row: Row) -> list[dict[str, Any]]:
    """Returns the messages of a row with the places of its pictures: before the first question, unless they say otherwise."""
    messages = [dict(message) for message in row["messages"]]
    if row["images"] and not any(isinstance(message["content"], list) for message in messages):
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = [{"type": "image"}] * len(row["images"]) + [{"type": "text", "text": first["content"]}]
    return messages


def prompt_of(row: Row) -> list[dict[str, Any]]:
    """Returns what the assistant's last message of a row answers."""
    return _in_parts(row)[:-1]


class Collator:
    """Turns rows into tokens before training, and into batches during it, when their pictures are opened."""

    def __init__(self, processor: ProcessorMixin, args: OcrArguments, max_length: int) -> None:
        self.processor, self.args, self.max_length = processor, args, max_length
        self.image_token, self.video_token = processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
        # A table of `datasets` holds their numbers: it could not hold pictures that are not drawn yet.
        self.rows: list[Row] = []
        self.are_mixed = False  # whether some rows have pictures, and some have none
        # The model's `get_rope_index`, once there is one: the loader's processes then say where in the picture a token stands,
        # which takes a GPU several small kernels for each row.
        self.get_positions: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None

    def tokenize(self, rows: list[Row], *, where: str) -> tuple[Dataset, list[Row]]:
        """Turns rows into tokens and labels; only what the assistant writes is trained.

        Args:
            rows: What `load_data` returned.
            where: Name of the data, for what is printed.

        Returns:
            `input_ids` and `labels`, in which each picture is still a single token, and `images`, the row's number here; and
            the rows that are left.

        Raises:
            SystemExit: With code 2 and one line for a row that cannot be used, such as one that is too long: a picture is never
                cut. `skip_bad_rows` leaves such rows out. Also if no row is left, or nothing in one is trained.
        """
        conversations = [{"messages": _in_parts(row), "where": row["where"]} for row in rows]
        tokens = tokenize(conversations, self.processor.tokenizer, sys.maxsize, where=where)  # long ones are found below
        rows, tokens = self._checked(rows, tokens, where)
        numbers = range(len(self.rows), len(self.rows) + len(rows))
        self.rows += rows
        self.are_mixed = 0 < sum(not row["images"] for row in self.rows) < len(self.rows)
        return tokens.add_column("images", list(numbers)), rows

    def _checked(self, rows: list[Row], tokens: Dataset, where: str) -> tuple[list[Row], Dataset]:
        """Returns the rows that are short enough, and whose tokens have as many places for pictures as there are pictures."""

        def check(number: int) -> int:
            ids, images = tokens[number]["input_ids"], len(rows[number]["images"])
            if ids.count(self.image_token) != images or ids.count(self.video_token):
                raise BadRow(
                    f"the chat template makes {ids.count(self.image_token)} places for {images} pictures; look in the row's "
                    "texts for what the model takes for a part of a picture, or take another model"
                )
            length = num_tokens(rows[number], len(ids), self.processor, self.args)
            if length > self.max_length:
                raise BadRow(
                    f"the row has {length} tokens, those of its pictures included, and max_length is {self.max_length}; raise "
                    "it, make pictures smaller (max_pixels), or leave such rows out with `--skip_bad_rows true`"
                )
            return number

        places = [(row["where"], number) for number, row in enumerate(rows)]
        kept = [number for _, number in usable(places, check, name=where, skip_bad_rows=self.args.skip_bad_rows)]
        return (rows, tokens) if len(kept) == len(rows) else ([rows[number] for number in kept], tokens.select(kept))

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Makes a batch of rows of `tokenize`.

        Returns:
            `input_ids`, `labels`, `attention_mask` and `mm_token_type_ids` of shape (rows, tokens) and, unless no row has a
            picture, `pixel_values` of shape (patches, values of a patch) and `image_grid_thw` of shape (pictures, 3); with
            `get_positions` also `position_ids` of shape (3, rows, tokens). Where only other rows have some, there is a blank
            picture to which nothing attends.
        """
        rows = [self.rows[tokens["images"]] for tokens in batch]
        images = [image for row in rows for image in fitted_images(row, self.processor, self.args)]
        is_blank = not images and self.are_mixed
        if is_blank:
            blank = Image.new("RGB", (28, 28), "white")
            images = [fit(blank, self.args.min_pixels, self.args.max_pixels, self.processor.image_processor.patch_size)]
        pixels = self.processor.image_processor(images=images, return_tensors="pt") if images else {}
        per_token = self.processor.image_processor.merge_size**2
        # A list, since an iterator that has come to its end within a loader would end the epoch without a word.
        lengths = (pixels["image_grid_thw"].prod(dim=1) // per_token).tolist() if images else []
        input_ids, labels = [], []
        for row, tokens in zip(rows, batch, strict=True):
            repeats = torch.tensor([lengths.pop(0) if token == self.image_token else 1 for token in tokens["input_ids"]])
            input_ids.append(torch.tensor(tokens["input_ids"]).repeat_interleave(repeats))
            labels.append(torch.tensor(tokens["labels"]).repeat_interleave(repeats))
            if len(input_ids[-1]) > self.max_length:
                fail(f"{row['where']} has {len(input_ids[-1])} tokens and max_length is {self.max_length}; raise it")
        padded = {
            "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=self.processor.tokenizer.pad_token_id),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(tokens) for tokens in input_ids], batch_first=True),
        }
        if is_blank:
            padded = self._with_blank(padded, lengths.pop(0))
        padded["mm_token_type_ids"] = (padded["input_ids"] == self.image_token).long()
        if pixels and self.get_positions:
            of_pictures = {"image_grid_thw": pixels["image_grid_thw"], "mm_token_type_ids": padded["mm_token_type_ids"]}
            padded["position_ids"], _ = self.get_positions(
                padded["input_ids"], attention_mask=padded["attention_mask"], **of_pictures
            )
        return {**padded, **pixels}

    def _with_blank(self, padded: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
        """Returns a batch without pictures with the places of a blank one, which nothing attends to and nothing is learned of.

        Every process has to run the vision tower at each step: under ZeRO-3 the others wait for their part of its weights, and
        under ZeRO-2 for its gradients.
        """
        count = len(padded["input_ids"])
        columns = {"input_ids": self.processor.tokenizer.pad_token_id, "labels": IGNORED, "attention_mask": 0}
        longer = {name: torch.full((count, length), value) for name, value in columns.items()}
        longer["input_ids"][0] = self.image_token
        return {name: torch.cat([padded[name], longer[name]], dim=1) for name in columns}
