"""SQLAlchemy and PostgreSQL, with the driver of the last argument: psycopg2 or psycopg (3)."""

import sys

import crowd  # first, because it patches
from sqlalchemy import String, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

DRIVER = sys.argv[5]
if DRIVER == "psycopg2":
    if crowd.STYLE == "treadle":
        import treadle.psycopg2

        treadle.psycopg2.install()
    else:
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()
URL = crowd.URL.replace("postgresql:", f"postgresql+{DRIVER}:")
engine = create_engine(URL, pool_size=crowd.SIZE, max_overflow=0)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100))


def wait(number: int) -> int:
    """Run a slow query."""
    with Session(engine) as session:
        session.execute(text("select pg_sleep(0.2)"))
        return int(session.scalar(text(f"select {number}")))


def load(number: int) -> int:
    """Insert an order, read it in another transaction, and delete it."""
    with Session(engine) as session:
        session.add(Order(number=number, text=f"order {number}"))
        session.commit()
        order = session.scalars(select(Order).where(Order.number == number)).one()
        assert order.text == f"order {number}"
        session.delete(order)
        session.commit()
    return number


Base.metadata.drop_all(engine)
Base.metadata.create_all(engine)
crowd.main(wait, load)
with Session(engine) as session:
    assert session.scalar(select(func.count()).select_from(Order)) == 0
engine.dispose()
