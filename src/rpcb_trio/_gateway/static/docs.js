const main = document.getElementById("swagger-ui");
SwaggerUIBundle({ url: main.dataset.url, domNode: main, deepLinking: true, validatorUrl: null });
