"""What NVIDIA alone hands out: the recipes install what the agent opens, under the names by which it opens it."""
import re
import sys

from supplies import LAYER, REPOSITORY, wrong

RECIPES = LAYER / "recipes-nvidia/nvidia"


def check():
    tensorrt()
    management()


def tensorrt():
    """The library and, beside it, the parser by which a box compiles what a package brings no plan of."""
    recipe = next(RECIPES.glob("tensorrt-rtx_*.bb"))
    version = recipe.stem.partition("_")[2].split(".")
    source = (REPOSITORY / "kernels/src/tensorrt/library.rs").read_text()
    opened = {name.replace("{major}", version[0]) for name in re.findall(r'Kind::Rtx => format!\("(lib\S+)"\)', source)}
    opened |= set(re.findall(r"`(libtensorrt_rtx\.so\.\d+)`", source))
    if len(opened) != 2:
        sys.exit(f"library.rs opens its library and its parser under other names than this looks for: {opened}")
    # One line, into one folder.
    lines = re.findall(r"^ +install -m 0755 (.*) \$\{D\}\$\{libdir\}/sund$", recipe.read_text(), re.M)
    beside = set(re.findall(r"\$\{S\}/lib/(\S+)", lines[0])) if len(lines) == 1 else set()
    wrong(f"libraries that the agent opens and {recipe.name} does not install beside each other", opened - beside)
    headers = re.findall(r"TRT-RTX-([\d.]+)", (LAYER / "recipes-sund/sund/sund-agent_0.1.0.bb").read_text())
    wrong(f"versions for which the agent is built and {recipe.name} is not", set(headers) - {".".join(version[:2])})


def management():
    """The driver's own library, which tells how GPUs fare."""
    name = re.search(r'const LIBRARY: &str = "(\S+)\.so\.1";', (REPOSITORY / "agent/src/worker/nvml.rs").read_text())
    driver = next(RECIPES.glob("nvidia-driver_*.bb")).read_text()
    linked = re.search(r"for library in (.*); do\n", driver)
    if not name or "/$library.so.1" not in driver:
        sys.exit("the agent or nvidia-driver names NVIDIA's libraries in another way than this looks for")
    wrong("libraries of the driver that the agent opens and nvidia-driver does not install", {name[1], "libcuda"} - set(linked[1].split()))
