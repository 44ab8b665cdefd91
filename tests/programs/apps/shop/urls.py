from django.urls import path

from .views import count, order

urlpatterns = [path("count", count), path("<int:number>", order)]
