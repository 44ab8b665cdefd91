from typing import final

@final
class Unhashed: ...

@final
class Links: ...
