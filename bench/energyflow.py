"""As much of the library's public API as the scripts beside it call, by ctypes. See energyflow.h."""
import ctypes as c
import os
import pathlib

import numpy as np

F32, F16, I32, U8 = range(4)
IMMEDIATE = 1
METRICS = ("loss", "mse", "cos", "grad_norm", "skipped", "skipped_in_a_row", "steps", "lr",
           "scale")

p, z, i, u, f, s = c.c_void_p, c.c_size_t, c.c_int, c.c_uint64, c.c_float, c.c_char_p


def struct(name, **fields):
    return type(name, (c.Structure,), {"_fields_": list(fields.items())})


Error = struct("Error", status=i, code=i, op=c.c_char * 48, text=c.c_char * 512)
Epilogue = struct("Epilogue", bias=p, pre=p, gelu=c.c_bool, gelu_grad=p, residual=p, mask=p)
Batch = struct("Batch", B=z, L=z, E=z, ids=p, mask=p, target=p, tokens=z)
LoaderOptions = struct("LoaderOptions", batch=z, length=z, shuffle=c.c_bool, bucket=c.c_bool, seed=u, vocab=z,
                       keep=z)
ModelConfig = struct("ModelConfig", vocab=z, width=z, hidden=z, taps=z, vector=z, blocks=z,
                     dilations=z * 64, length=z, eps=f, tanh=c.c_bool, kind=i)
TrainerOptions = struct("TrainerOptions", alpha=f, beta=f, lr=f, min_lr=f, warmup=u, decay=u, weight_decay=f,
                        beta1=f, beta2=f, epsilon=f, clip=f, loss_scale=f,
                        optim=i, scope=i)

SIGNATURES = {
    "ef_actor_open": (s, p, p), "ef_actor_close": (p,), "ef_actor_device": (p,), "ef_actor_message": (p,),
    "ef_batch_begin": (p,), "ef_batch_sync": (p, s),
    "ef_tensor_new": (p, i, z, p, s, p), "ef_tensor_free": (p,), "ef_tensor_write": (p, p),
    "ef_tensor_touch": (p,),
    "ef_readback_start": (p, p, i, s, p), "ef_readback_value": (p, p, p), "ef_readback_free": (p,),
    "ef_gelu_forward": (p,) * 3, "ef_gelu_backward": (p,) * 4,
    "ef_layernorm_forward": (p, p, p, p, p, f, p, p, p), "ef_layernorm_backward": (p,) * 11,
    "ef_conv1d_forward": (p, p, p, z, p, p), "ef_conv1d_dx": (p, p, p, z, p, p),
    "ef_conv1d_dw": (p, p, p, z, p, p),
    "ef_linear_forward": (p,) * 5, "ef_linear_dx": (p,) * 5, "ef_linear_dw": (p,) * 5,
    "ef_model_config_default": (p,), "ef_encoder_new": (p, p, i, u, c.c_bool, p), "ef_encoder_free": (p,),
    "ef_encoder_parameters": (p,), "ef_encoder_parameter": (p, z, p), "ef_encoder_encode": (p, p, p, p),
    "ef_decoder_new": (p, p, i, u, c.c_bool, p), "ef_decoder_free": (p,),
    "ef_decoder_parameters": (p,), "ef_decoder_parameter": (p, z, p), "ef_decoder_logits": (p, p, p, p, p),
    "ef_trainer_new_decoder": (p, p, p),
    "ef_trainer_options_default": (p,), "ef_trainer_new": (p, p, p), "ef_trainer_free": (p,),
    "ef_trainer_step": (p, p, z, p),
    "ef_dataset_open": (s, p, p), "ef_dataset_free": (p,), "ef_dataset_size": (p,), "ef_dataset_width": (p,),
    "ef_dataset_max_id": (p,),
    "ef_loader_new": (p, p, p, p), "ef_loader_free": (p,), "ef_loader_seek": (p, u, z, p),
    "ef_loader_next": (p, p, p), "ef_loader_batches": (p,),
}
RESULTS = {"ef_actor_device": p, "ef_actor_message": s, "ef_encoder_parameter": p, "ef_decoder_parameter": p,
           "ef_encoder_parameters": z, "ef_decoder_parameters": z,
           "ef_dataset_size": z, "ef_dataset_width": z, "ef_loader_batches": z}


def built(name):
    """What was built here or in the script's tree; None: it is not there."""
    for root in (pathlib.Path(), pathlib.Path(__file__).resolve().parent.parent):
        if (root / name).exists():
            return str((root / name).resolve())
    return None


def default_library():
    """The one that was built, else the installed one."""
    return built(".libs/libenergyflow.so") or "libenergyflow.so.0"


def default_command(name):
    return built(name) or name


def set_environment(threads):
    """Before the first OpenCL call: workers stay on their cores, and there are as many as the peer's."""
    os.environ.setdefault("POCL_AFFINITY", "1")
    os.environ.setdefault("POCL_SIGFPE_HANDLER", "0")
    os.environ.setdefault("POCL_MAX_PTHREAD_COUNT", str(threads))


class Library:
    """The functions; those that take an error as their last parameter raise what it says."""

    def __init__(self, path):
        self.c = c.CDLL(path)
        for name, arguments in SIGNATURES.items():
            function = getattr(self.c, name)
            function.argtypes, function.restype = arguments, RESULTS.get(name, i)

    def checked(self, name, *arguments):
        error = Error()
        if getattr(self.c, name)(*arguments, c.byref(error)):
            raise RuntimeError(f"{name}: {error.text.decode()}")

    def made(self, name, *arguments):
        handle = p()
        self.checked(name, *arguments, c.byref(handle))
        return handle


class Actor:
    def __init__(self, library, device=None):
        self.c = library.c
        self.handle = library.made("ef_actor_open", device.encode() if device else None)
        about = c.string_at(self.c.ef_actor_device(self.handle), 642)
        self.device = about[:128].split(b"\0")[0].decode()
        self.is_gpu = about[641] != 0

    def close(self):
        self.c.ef_actor_close(self.handle)

    def call(self, name, *arguments):
        if getattr(self.c, name)(*arguments):
            raise RuntimeError(f"{name}: {self.c.ef_actor_message(self.handle).decode()}")

    def made(self, name, *arguments):
        handle = p()
        self.call(name, *arguments, c.byref(handle))
        return handle

    def op(self, name, *arguments):
        """Enqueue, in a batch of its own, and wait."""
        self.call("ef_batch_begin", self.handle)
        self.call("ef_" + name, self.handle, *arguments)
        self.call("ef_batch_sync", self.handle, name.encode())

    def tensor(self, array):
        """A tensor with an array's shape and values."""
        dtype = {"float32": F32, "float16": F16, "int32": I32, "uint8": U8}[array.dtype.name]
        dims = (z * array.ndim)(*array.shape)
        tensor = self.made("ef_tensor_new", self.handle, dtype, array.ndim, dims, None)
        self.write(tensor, array)
        return tensor

    def write(self, tensor, array):
        self.call("ef_tensor_write", tensor, np.ascontiguousarray(array).ctypes.data)

    def value(self, readback):
        data, count = p(), z()
        self.call("ef_readback_value", readback, c.byref(data), c.byref(count))
        array = np.frombuffer(c.string_at(data, count.value * 4), np.float32).copy()
        self.c.ef_readback_free(readback)
        return array

    def read(self, tensor):
        """A flat array of an f32 tensor's values."""
        return self.value(self.made("ef_readback_start", self.handle, tensor, IMMEDIATE, None))


class Model:
    """An encoder or a decoder with its trainer; options are set by name on the library's defaults."""

    def __init__(self, actor, kind, config, trainer):
        self.actor, self.kind, shape, options = actor, kind, ModelConfig(), TrainerOptions()
        actor.c.ef_model_config_default(c.byref(shape))
        actor.c.ef_trainer_options_default(c.byref(options))
        for name, value in config.items():
            setattr(shape, name, value)
        for name, value in trainer.items():
            setattr(options, name, value)
        self.handle = actor.made(f"ef_{kind}_new", actor.handle, c.byref(shape), 0, 1, True)
        new_trainer = {"encoder": "ef_trainer_new", "decoder": "ef_trainer_new_decoder"}[kind]
        self.trainer = actor.made(new_trainer, self.handle, c.byref(options))

    def close(self):
        self.actor.c.ef_trainer_free(self.trainer)
        getattr(self.actor.c, f"ef_{self.kind}_free")(self.handle)

    def parameters(self):
        """How many numbers they are."""
        return getattr(self.actor.c, f"ef_{self.kind}_parameters")(self.handle)

    def load(self, values):
        """Set every parameter from a dict of arrays by PyTorch's names."""
        name, index, parameter = s(), 0, getattr(self.actor.c, f"ef_{self.kind}_parameter")
        while tensor := parameter(self.handle, index, c.byref(name)):
            self.actor.write(tensor, values[name.value.decode()])
            index += 1

    def encode(self, ids, mask, vectors):
        self.actor.call("ef_batch_begin", self.actor.handle)
        self.actor.call("ef_encoder_encode", self.handle, ids, mask, vectors)
        self.actor.call("ef_batch_sync", self.actor.handle, b"encode")

    def logits(self, ids, mask, vectors, logits):
        self.actor.call("ef_batch_begin", self.actor.handle)
        self.actor.call("ef_decoder_logits", self.handle, ids, mask, vectors, logits)
        self.actor.call("ef_batch_sync", self.actor.handle, b"logits")

    def step(self, batch):
        """One step on (ids, mask, target); its metrics by name."""
        ids, mask, target = batch
        given = Batch(*ids.shape, target.shape[1], ids.ctypes.data, mask.ctypes.data, target.ctypes.data, 0)
        readback = self.actor.made("ef_trainer_step", self.trainer, c.byref(given), 1)
        return dict(zip(METRICS, self.actor.value(readback).tolist()))


def array_at(address, dtype, *shape):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(c.string_at(address, size), dtype).reshape(shape).copy()


class Loader:
    """The very batches that eftrain sees, as (ids, mask, target) arrays."""

    def __init__(self, library, path, **options):
        self.library, self.dataset = library, library.made("ef_dataset_open", path.encode())
        self.size = library.c.ef_dataset_size(self.dataset)
        self.width = library.c.ef_dataset_width(self.dataset)
        self.max_id = library.c.ef_dataset_max_id(self.dataset)
        self.handle, given = p(), LoaderOptions(**options)
        library.checked("ef_loader_new", self.dataset, c.byref(given), c.byref(self.handle))
        self.batches = library.c.ef_loader_batches(self.handle)

    def close(self):
        self.library.c.ef_loader_free(self.handle)
        self.library.c.ef_dataset_free(self.dataset)

    def epoch(self, number):
        batch = Batch()
        self.library.checked("ef_loader_seek", self.handle, number, 0)
        while True:
            self.library.checked("ef_loader_next", self.handle, c.byref(batch))
            if batch.B == 0:
                return
            yield (array_at(batch.ids, np.int32, batch.B, batch.L),
                   array_at(batch.mask, np.uint8, batch.B, batch.L),
                   array_at(batch.target, np.float32, batch.B, batch.E))
